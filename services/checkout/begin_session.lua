-- Fixes until when an order's payment session lives, so that whoever opens it at the same time opens the same one.
-- KEYS: 1 names-loaded marker  2 order record  3 payment slot  4 the key that it was reserved with, if there is one
-- ARGV: 1 order id  2 user digest  3 ms that a session lives  4 ms that it must live when it is sent to Stripe
--       5 orders that the slot no longer stands for, separated by blanks
-- Answers {'not_loaded'} | {'gone'} | {'moved', status} | {'begun', until in ms, session id, its url}; without url
--   it has to be made
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'not_loaded'}
end
local record = redis.call('HMGET', KEYS[2], 'user', 'status', 'payload', 'draft', 'session', 'session_url',
  'session_until')
if record[1] ~= ARGV[2] or not (record[3] or record[4]) then
  return {'gone'}
end
if record[2] and record[2] ~= 'processing' then
  return {'moved', record[2]}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local life = tonumber(record[7] or '0') - now
if life <= (record[6] and 0 or tonumber(ARGV[4])) then
  record[6], record[7] = false, string.format('%.0f', (math.floor(now / 1000) + 1) * 1000 + ARGV[3])
  redis.call('HSET', KEYS[2], 'session_until', record[7])
  redis.call('HDEL', KEYS[2], 'session_url')
end
local bearer = redis.call('GET', KEYS[3])
if not bearer or bearer == ARGV[1] or string.find(ARGV[5], bearer, 1, true) then
  redis.call('SET', KEYS[3], ARGV[1], 'PXAT', record[7])
end
if not record[3] then
  redis.call('PEXPIREAT', KEYS[2], record[7])
  if KEYS[4] then
    redis.call('SET', KEYS[4], ARGV[1], 'PXAT', record[7])
  end
end
return {'begun', record[7], record[5], record[6]}
