-- Puts a dead letter back into the stream, once for each of its burials.
-- KEYS: 1 stream  2 what this burial's return was given as its entry id
-- ARGV: 1 ms that 2 is remembered, then name, value, name, value ... of the entry
-- Answers the entry id, the same one however often it is called.
local known = redis.call('GET', KEYS[2])
if known then
  return known
end
local fields = {}
for position = 2, #ARGV do
  fields[position - 1] = ARGV[position]
end
local entry_id = redis.call('XADD', KEYS[1], '*', unpack(fields))
redis.call('SET', KEYS[2], entry_id, 'PX', ARGV[1])
return entry_id
