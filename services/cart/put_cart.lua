-- Replaces a cart if it is still at the version that was read.
-- KEYS: 1 cart
-- ARGV: 1 expected generation  2 expected version  3 ttl ms  4 items  5 content  6 new generation
--       7 '1' = the generation has checked out  8 bought
-- Answers 1, or 0 when somebody was faster.
local generation, version = unpack(redis.call('HMGET', KEYS[1], 'generation', 'version'))
if (generation or '') ~= ARGV[1] or (version or '0') ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'items', ARGV[4], 'content', ARGV[5], 'generation', ARGV[6],
  'version', tonumber(ARGV[2]) + 1, 'checked_out', ARGV[7], 'bought', ARGV[8])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
