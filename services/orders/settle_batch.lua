-- Forgets events that are recorded and acks their entries. A failure before the acks leaves all of them pending.
-- KEYS: the overlay of each event, then the stream. ARGV: the group, the id of each event, then the entry ids.
local events = #KEYS - 1
for number = 1, events do
  redis.call('HDEL', KEYS[number], ARGV[number + 1])
end
for number = events + 2, #ARGV, 1000 do
  redis.call('XACK', KEYS[#KEYS], ARGV[1], unpack(ARGV, number, math.min(number + 999, #ARGV)))
end
