-- Reads what a submission that bears an order's name is judged by, and counts it if the order is its answer.
-- KEYS: 1 order record  2 duplicates over all orders
-- ARGV: 1 kind of the name  2 fingerprint of the submission  3 its key name or ''  4 '1' = it is no submission
-- Answers {payload, accepted_at, status, fingerprint, key, payment session, draft, cart}
local record = redis.call('HMGET', KEYS[1], 'payload', 'accepted_at', 'status', 'fingerprint', 'key', 'session',
  'draft', 'cart')
local is_answer = ARGV[4] == '' and record[1] and record[4] == ARGV[2]
if is_answer and ARGV[1] ~= 'key' then
  is_answer = record[3] ~= 'cancelled' and (ARGV[3] == '' or record[5] == '' or record[5] == ARGV[3])
end
if is_answer then
  redis.pcall('HINCRBY', KEYS[1], 'duplicates:' .. ARGV[1], 1) -- a full Redis still answers, and only counts less
  redis.pcall('HINCRBY', KEYS[2], ARGV[1], 1)
end
return record
