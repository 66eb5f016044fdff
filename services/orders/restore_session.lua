-- Puts a recorded payment session back into Redis' memory. Call it in the order in which sessions were opened.
-- KEYS: 1 order record  2 payment slot  3 the key that the order is reserved with, if there is one
-- ARGV: 1 order id  2 status of the order  3 ms until the session ends, 0 = it has  4 user digest  5 fingerprint
--       6 key name or ''  7 what the order will be accepted as  8 payment session  9 its end in ms since 1970
local is_accepted = redis.call('HEXISTS', KEYS[1], 'payload') == 1
local left = tonumber(ARGV[3])
if ARGV[2] == 'cancelled' then
  left = 0 -- a cancel ends the weak names: a later order may bear them
  if redis.call('GET', KEYS[2]) == ARGV[1] then
    redis.call('DEL', KEYS[2])
  end
end
if left > 0 then
  redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', left)
end
if left > 0 and not is_accepted then
  redis.call('HSET', KEYS[1], 'user', ARGV[4], 'fingerprint', ARGV[5], 'key', ARGV[6], 'draft', ARGV[7])
  redis.call('PEXPIRE', KEYS[1], left)
  if KEYS[3] then
    redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', left)
  end
end
if (left > 0 or is_accepted) and tonumber(redis.call('HGET', KEYS[1], 'session_until') or '0') < tonumber(ARGV[9]) then
  redis.call('HSET', KEYS[1], 'session', ARGV[8], 'session_until', ARGV[9])
  redis.call('HDEL', KEYS[1], 'session_url')
end
