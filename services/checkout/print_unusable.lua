-- Prints a payment that fits no order, once: the consumer makes it a dead letter with its reason.
-- KEYS: 1 names-loaded marker  2 stream  3 name of the payment
-- ARGV: 1 event id  2 payload  3 identity ms  4 traceparent of the entry or ''
-- Answers 'not_loaded', 'printed' or 'known'
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 'not_loaded'
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  return 'known'
end
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
local trace = ARGV[4] == '' and {} or {'traceparent', ARGV[4]}
redis.call('XADD', KEYS[2], '*', 'event_id', ARGV[1], 'payload', ARGV[2], 'accepted_at', now, unpack(trace))
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[3])
return 'printed'
