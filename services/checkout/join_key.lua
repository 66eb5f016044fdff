-- Binds a new idempotency key to a checkout that has none of its own yet.
-- KEYS: 1 names-loaded marker  2 stream  3 overlay of the user  4 order record  5 key name
-- ARGV: 1 event id of the joining  2 payload  3 the key's name  4 identity ms  5 order id
--       6 traceparent of the entry or ''
-- Answers 'joined', or 'raced': the key, the checkout or the memory is not what was read.
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('EXISTS', KEYS[5]) == 1
    or redis.call('HGET', KEYS[4], 'key') ~= '' or redis.call('HGET', KEYS[4], 'status') == 'cancelled' then
  return 'raced'
end
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
local trace = ARGV[6] == '' and {} or {'traceparent', ARGV[6]}
redis.call('XADD', KEYS[2], '*', 'event_id', ARGV[1], 'payload', ARGV[2], 'accepted_at', now, unpack(trace))
redis.call('HSET', KEYS[3], ARGV[1], '{"accepted_at":' .. now .. ',"event":' .. ARGV[2] .. '}')
redis.call('HSET', KEYS[4], 'key', ARGV[3])
redis.call('PEXPIRE', KEYS[4], ARGV[4])
redis.call('SET', KEYS[5], ARGV[5], 'PX', ARGV[4])
return 'joined'
