-- The load as wrk sends it: one shopper after the other checks out, each checkout under a name of its own.
-- Writes down the order id of every 201. DOORS in the environment: the ports of the processes that are asked. Each has a
-- thread of its own, with its equal share of the connections; of T threads, thread number t sends every T-th checkout.
-- After `--`: file of tokens, file of bodies, files for the ids (.0, .1 ...), file for the report, number to begin
-- after, mean think time (ms)
-- services/bench/shoppers.py knows which user, body and key the checkout of a number has.

local threads, doors = {}, {}
local users, bodies = {}, {}
local number = 0
local answered

for door in os.getenv("DOORS"):gmatch("%d+") do
  doors[#doors + 1] = door
end

place, submitted, duplicates, refused, last_refusal, report_to = 0, 0, 0, 0, "", ""

function setup(thread)
  thread:set("place", #threads)
  table.insert(threads, thread)
  thread.addr = wrk.lookup("127.0.0.1", doors[#threads])[1]
end

function init(arguments)
  for token in io.lines(arguments[1]) do
    users[#users + 1] = "POST /api/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" ..
      "Authorization: Bearer " .. token .. "\r\nIdempotency-Key: "
  end
  for body in io.lines(arguments[2]) do
    bodies[#bodies + 1] = "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
  end
  answered = assert(io.open(arguments[3] .. "." .. place, "w"))
  answered:setvbuf("full", 65536)
  report_to = arguments[4]
  number = tonumber(arguments[5]) + place
  local think = tonumber(arguments[6])
  if think > 0 then
    math.randomseed(os.time() + place)
    function delay()
      return math.floor(math.random() * 2 * think + 0.5) -- no lockstep
    end
  end
end

function request()
  local user, body = number % #users + 1, math.floor(number / #users) % #bodies + 1
  local key = "checkout-" .. number + 1
  number = number + #doors
  submitted = submitted + 1
  return users[user] .. key .. bodies[body]
end

function response(status, headers, body)
  if status == 201 then
    answered:write(body:match('"id":"([^"]+)"'), "\n")
  elseif status == 200 then
    duplicates = duplicates + 1
  else
    refused = refused + 1
    last_refusal = status .. " " .. body:sub(1, 200)
  end
end

function done(summary, latency)
  local report = assert(io.open(threads[1]:get("report_to"), "w"))
  local function tell(name, value)
    report:write(name, " ", tostring(value), "\n")
  end
  for _, name in ipairs({"submitted", "duplicates", "refused", "last_refusal"}) do
    local told = {}
    for _, thread in ipairs(threads) do
      told[#told + 1] = thread:get(name)
    end
    tell(name, table.concat(told, " "))
  end
  tell("duration_us", summary.duration)
  tell("p50_us", latency:percentile(50))
  tell("p99_us", latency:percentile(99))
  tell("max_us", latency.max)
  tell("connect", summary.errors.connect)
  tell("broken", summary.errors.read + summary.errors.write)
  tell("timeouts", summary.errors.timeout)
  report:close()
end
