-- Binds the payment session that Stripe has made to its order, and prints that it was opened. Of several that were made
-- at once the first one counts: nobody is ever shown the page of another.
-- KEYS: 1 names-loaded marker  2 stream  3 overlay of the user  4 order record
-- ARGV: 1 event id  2 payload  3 payment session  4 its url  5 until in ms, as it was begun
--       6 traceparent of the entry or ''
-- Answers {'bound', payment session, url} | {'not_loaded'} | {'gone'}: the order or its session is not the one begun
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'not_loaded'}
end
local record = redis.call('HMGET', KEYS[4], 'session_until', 'session', 'session_url')
if record[1] ~= ARGV[5] then
  return {'gone'}
end
if record[3] then
  return {'bound', record[2], record[3]}
end
if record[2] ~= ARGV[3] then
  local time = redis.call('TIME')
  local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
  local trace = ARGV[6] == '' and {} or {'traceparent', ARGV[6]}
  redis.call('XADD', KEYS[2], '*', 'event_id', ARGV[1], 'payload', ARGV[2], 'accepted_at', now, unpack(trace))
  redis.call('HSET', KEYS[3], ARGV[1], '{"accepted_at":' .. now .. ',"event":' .. ARGV[2] .. '}')
end
redis.call('HSET', KEYS[4], 'session', ARGV[3], 'session_url', ARGV[4])
return {'bound', ARGV[3], ARGV[4]}
