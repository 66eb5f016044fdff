-- A key that outlived its memory was accepted again and got a fresh record; the row knows how far the order is.
-- KEYS: 1 order record   ARGV: 1 the row's status, not `processing`
if redis.call('HGET', KEYS[1], 'status') == 'processing' then
  redis.call('HSET', KEYS[1], 'status', ARGV[1])
end
