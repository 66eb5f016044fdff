-- Decides a submission in one atomic step: a known name answers, a new checkout is printed on the stream.
-- It compares and moves bytes; what they mean is known to accept_order.py. All reads come before the first write.
--
-- KEYS: 1 names-loaded marker  2 stream  3 overlay of the user  4 order record of the proposed event id
--       5 window slot  then ARGV[1] stronger names, strongest first  then the cart, if there is one
-- ARGV: 1 number of stronger names  2 how many of them are consulted  3 'consult' the window, only 'bind' it, or 'off'
--       4 orders that no name but the key stands for any longer, separated by blanks
--       5 event id ('' = only look)  6 payload  7 user digest  8 fingerprint  9 key name or ''
--       10 identity ms  11 window ms  12 how the cart that was read is recognised: by 'content' or by 'version'
--       13 expected generation  14 expected content or version  15 items left ('' = as they are)  16 their content
--       17 cart ttl ms  18 tail of the purchase's line  19 orders that keep their names, separated by blanks
--       20 orders whose record has ended: not even the key stands for them  21 traceparent of the entry or ''
--       22 position of the payment slot: a payment session binds it, accepting does not
--       23 order that the caller knows to be reserved for a payment session, or ''
--       24 ms to reserve the event id for a payment session ('' = accept)  25 cart that the session is for
--       26 payment session that paid, or ''  27 event id of the payment  28 its payload
-- Answers: {'not_loaded'} | {'known', event id, position of the name}
--        | {'borne', event id}: a name that was not consulted has a bearer of unknown standing
--        | {'look', TIME in us, cart fields...} | {'accepted', TIME in ms} | {'reserved'}
local names, consulted = tonumber(ARGV[1]), tonumber(ARGV[2])
local event_id = ARGV[5]
local slot = tonumber(ARGV[22])
local cart = KEYS[6 + names]
local record = redis.call('HMGET', KEYS[4], 'payload', 'draft', 'status')

local read = {}
local function bearer_of(position)
  if read[position] == nil then
    read[position] = redis.call('GET', KEYS[5 + position])
  end
  local bearer = read[position]
  local is_key = position == 1 and ARGV[9] ~= ''
  local is_reserved_here = bearer == ARGV[23] and not record[1]
  if bearer and not is_reserved_here and not string.find(is_key and ARGV[20] or ARGV[4], bearer, 1, true) then
    return bearer
  end
end

if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'not_loaded'}
end
for position = 1, consulted do
  local bearer = bearer_of(position)
  if bearer then
    return {'known', bearer, position}
  end
end

local time = redis.call('TIME')
local fields = {}
local is_as_read = true
if cart then
  fields = redis.call('HMGET', cart, 'items', 'version', 'generation', 'checked_out', 'bought')
  if ARGV[12] == 'content' then
    is_as_read = (fields[3] or '') == ARGV[13] and (redis.call('HGET', cart, 'content') or '') == ARGV[14]
  else
    is_as_read = (fields[3] or '') == ARGV[13] and (fields[2] or '0') == ARGV[14]
  end
end
if is_as_read and ARGV[3] == 'consult' then
  local bearer = bearer_of(0)
  if bearer then
    return {'known', bearer, 0}
  end
end
if event_id == '' or not is_as_read then
  return {'look', time[1] .. string.format('%06d', time[2]), unpack(fields, 1, 5)}
end
if record[1] or (record[2] and ARGV[23] ~= event_id) then
  return {'known', event_id, -1}
end
if ARGV[24] ~= '' then
  if not bearer_of(slot) then
    redis.call('SET', KEYS[5 + slot], event_id, 'PX', ARGV[24])
  end
  redis.call('HSET', KEYS[4], 'user', ARGV[7], 'fingerprint', ARGV[8], 'key', ARGV[9],
    'draft', ARGV[6], 'cart', ARGV[25])
  redis.call('PEXPIRE', KEYS[4], ARGV[24])
  if ARGV[9] ~= '' then
    redis.call('SET', KEYS[6], event_id, 'PX', ARGV[24])
  end
  return {'reserved'}
end
local free = {}
for position = ARGV[3] == 'off' and 1 or 0, names do
  local bearer = bearer_of(position)
  if bearer and position ~= slot and not string.find(ARGV[19], bearer, 1, true) then
    return {'borne', bearer}
  end
  free[position] = not bearer and position ~= slot
end

local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
local trace = ARGV[21] == '' and {} or {'traceparent', ARGV[21]}
redis.call('XADD', KEYS[2], '*', 'event_id', event_id, 'payload', ARGV[6], 'accepted_at', now, unpack(trace))
redis.call('HSET', KEYS[3], event_id, '{"accepted_at":' .. now .. ',"event":' .. ARGV[6] .. '}')
redis.call('HSET', KEYS[4], 'user', ARGV[7], 'fingerprint', ARGV[8], 'key', ARGV[9],
  'accepted_at', now, 'payload', ARGV[6], 'status', record[3] or 'processing')
if record[2] then
  redis.call('HDEL', KEYS[4], 'draft', 'cart')
end
redis.call('PEXPIRE', KEYS[4], ARGV[10])
if ARGV[26] ~= '' then
  redis.call('XADD', KEYS[2], '*', 'event_id', ARGV[27], 'payload', ARGV[28], 'accepted_at', now, unpack(trace))
  redis.call('HSET', KEYS[3], ARGV[27], '{"accepted_at":' .. now .. ',"event":' .. ARGV[28] .. '}')
  redis.call('HSET', KEYS[4], 'paid_by', ARGV[26])
  if redis.call('HGET', KEYS[4], 'status') == 'processing' then
    redis.call('HSET', KEYS[4], 'status', 'paid')
  end
end
for position = 1, names do
  if free[position] then
    redis.call('SET', KEYS[5 + position], event_id, 'PX', ARGV[10])
  end
end
if free[0] then
  redis.call('SET', KEYS[5], event_id, 'PX', ARGV[11])
end
if cart then
  if ARGV[15] ~= '' then
    redis.call('HSET', cart, 'items', ARGV[15], 'content', ARGV[16])
  end
  redis.call('HSET', cart, 'checked_out', '1', 'bought', (fields[5] or '') .. now .. ' ' .. ARGV[18])
  redis.call('HINCRBY', cart, 'version', 1)
  redis.call('PEXPIRE', cart, ARGV[17])
end
return {'accepted', now}
