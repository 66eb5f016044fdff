-- Moves an order forward at most once. Compares and moves bytes; parses nothing. All reads come before the first
-- write, and XADD is the first write: whatever a full or read-only Redis refuses, it refuses before anything changed.
--
-- KEYS  1 marker of loaded names  2 stream  3 the user's overlay  4 the order's record
-- ARGV  1 event id  2 event JSON  3 digest of the asking user  4 wanted status
--       5 the order's status as the caller found it elsewhere, or ''  6 identity horizon in ms
--       7 traceparent of the entry or ''
-- Answers {word, present status, accepted_at of the order, its checkout's JSON, payment session}; the last may be nil:
--   not_ready | unknown | ask (look elsewhere, then call again with the status) | unchanged | refused | changed
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'not_ready'}
end

local record = redis.call('HMGET', KEYS[4], 'user', 'status', 'accepted_at', 'payload', 'session')
if record[1] and record[1] ~= ARGV[3] then
  return {'unknown'}
end
if not record[4] and ARGV[5] == '' then
  return {'ask'}
end

local present = record[2] or ARGV[5]
if present == ARGV[4] then
  return {'unchanged', present, record[3], record[4], record[5]}
end
if present ~= 'processing' then
  return {'refused', present, record[3], record[4], record[5]}
end

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local trace = ARGV[7] == '' and {} or {'traceparent', ARGV[7]}
redis.call('XADD', KEYS[2], '*', 'event_id', ARGV[1], 'payload', ARGV[2], 'accepted_at', now, unpack(trace))
redis.call('HSET', KEYS[4], 'user', ARGV[3], 'status', ARGV[4])
redis.call('PEXPIRE', KEYS[4], ARGV[6])
redis.call('HSET', KEYS[3], ARGV[1], '{"accepted_at":' .. now .. ',"event":' .. ARGV[2] .. '}')
return {'changed', ARGV[4], record[3], record[4], record[5]}
