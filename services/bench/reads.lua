-- One shopper after the other asks for the own orders. After `--`: file of tokens, file for the report.

local threads = {}
local users = {}
local number = 0

answered, refused, orders, report_to = 0, 0, 0, ""

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  for token in io.lines(arguments[1]) do
    users[#users + 1] = "GET /api/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " .. token .. "\r\n\r\n"
  end
  report_to = arguments[2]
end

function request()
  number = number + 1
  return users[number % #users + 1]
end

function response(status, headers, body)
  if status == 200 then
    answered = answered + 1
    orders = orders + select(2, body:gsub('"userId"', ""))
  else
    refused = refused + 1
  end
end

function done(summary, latency)
  local thread = threads[1]
  local report = assert(io.open(thread:get("report_to"), "w"))
  for _, name in ipairs({"answered", "refused", "orders"}) do
    report:write(name, " ", thread:get(name), "\n")
  end
  report:write("duration_us ", summary.duration, "\n")
  report:write("p50_us ", latency:percentile(50), "\np99_us ", latency:percentile(99), "\n")
  report:close()
end
