-- Writes the next page of a replay into the stream, once: the position moves in the same step.
-- KEYS: 1 stream  2 how far this replay has come
-- ARGV: 1 position that the caller starts from  2 position after this page  3 ms that it is kept
--       4 what the page's entries are copies of, then for each entry: number of its names and values, those names and values
-- Answers {'sent', entry ids} or, when another call has moved the replay, {'moved'}.
local position = redis.call('HGET', KEYS[2], 'position')
if position and position ~= ARGV[1] then
  return {'moved'}
end
local entry_ids = {}
local at = 5
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  entry_ids[#entry_ids + 1] = redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, at + count))
  at = at + 1 + count
end
local joined = table.concat(entry_ids, ' ')
redis.call('HSET', KEYS[2], 'position', ARGV[2], 'source_ids', ARGV[4], 'entry_ids', joined)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return {'sent', joined}
