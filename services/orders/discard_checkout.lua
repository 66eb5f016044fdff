-- Takes an event that will never be recorded from its owner's sight.
-- KEYS: 1 the owner's overlay  2 the order's record   ARGV: 1 event id  2 '1' when the archive has no such event
-- A discarded checkout counts as cancelled: its weak names are free, so that the owner may order again at once.
if ARGV[2] == '1' and redis.call('HGET', KEYS[2], 'status') == 'processing' then
  redis.call('HSET', KEYS[2], 'status', 'cancelled')
end
return redis.call('HDEL', KEYS[1], ARGV[1])
