-- Puts a recorded checkout back into Redis' memory. What is there is never overwritten; a status only moves forward.
-- KEYS: 1 order record, then the checkout's names
-- ARGV: 1 order id  2 status  3 ms until the record ends  4 how many of the names stay after a cancel (they come first)
--       5 key name or ''  6 user digest  7 fingerprint  8 accepted_at  9 payload, then for each name the ms until it ends
local order_id, status = ARGV[1], ARGV[2]
redis.call('HSETNX', KEYS[1], 'user', ARGV[6])
redis.call('HSETNX', KEYS[1], 'fingerprint', ARGV[7])
redis.call('HSETNX', KEYS[1], 'accepted_at', ARGV[8])
redis.call('HSETNX', KEYS[1], 'payload', ARGV[9])
if (redis.call('HGET', KEYS[1], 'key') or '') == '' then
  redis.call('HSET', KEYS[1], 'key', ARGV[5])
end
if (redis.call('HGET', KEYS[1], 'status') or 'processing') == 'processing' then
  redis.call('HSET', KEYS[1], 'status', status)
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
for position = 2, #KEYS do
  if status == 'cancelled' and position - 1 > tonumber(ARGV[4]) then
    -- a cancel ends the weak names: a later order may bear them
    if redis.call('GET', KEYS[position]) == order_id then
      redis.call('DEL', KEYS[position])
    end
  else
    redis.call('SET', KEYS[position], order_id, 'NX', 'PX', ARGV[8 + position])
  end
end
