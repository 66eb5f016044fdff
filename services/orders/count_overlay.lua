-- How many fields the hashes KEYS have together.
local fields = 0
for _, key in ipairs(KEYS) do
  fields = fields + redis.call('HLEN', key)
end
return fields
