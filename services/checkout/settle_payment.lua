-- Marks an accepted order paid by a payment session. Money is never forgotten: a cancelled order's is printed, too.
-- KEYS: 1 names-loaded marker  2 stream  3 overlay of the user  4 order record
-- ARGV: 1 user digest  2 fingerprint  3 payment session  4 event id of the payment  5 its payload  6 identity ms
--       7 traceparent of the entry or ''
-- Answers {'not_loaded'} | {'absent', draft, cart}: not accepted yet | {'other_user'} | {'other_content'}
--       | {'paid_twice'}: by another session before | {'unchanged'} | {'paid'}
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'not_loaded'}
end
local record = redis.call('HMGET', KEYS[4], 'user', 'fingerprint', 'status', 'payload', 'paid_by', 'draft', 'cart')
if record[1] and record[1] ~= ARGV[1] then
  return {'other_user'}
end
if record[2] and record[2] ~= ARGV[2] then
  return {'other_content'}
end
if not record[4] then
  return {'absent', record[6], record[7]}
end
if record[5] then
  return {record[5] == ARGV[3] and 'unchanged' or 'paid_twice'}
end
if record[3] ~= 'paid' then
  local time = redis.call('TIME')
  local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
  local trace = ARGV[7] == '' and {} or {'traceparent', ARGV[7]}
  redis.call('XADD', KEYS[2], '*', 'event_id', ARGV[4], 'payload', ARGV[5], 'accepted_at', now, unpack(trace))
  redis.call('HSET', KEYS[3], ARGV[4], '{"accepted_at":' .. now .. ',"event":' .. ARGV[5] .. '}')
end
redis.call('HSET', KEYS[4], 'paid_by', ARGV[3])
if record[3] == 'processing' then
  redis.call('HSET', KEYS[4], 'status', 'paid')
  redis.call('PEXPIRE', KEYS[4], ARGV[6])
end
return {record[3] == 'paid' and 'unchanged' or 'paid'}
