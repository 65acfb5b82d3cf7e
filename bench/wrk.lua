-- Sends the headers that stand in the file $HEADERS, of $AGENTS kinds of clients in turn where that is not 0, and prints
-- what was counted as one line of JSON.
for line in io.lines(os.getenv("HEADERS")) do
  local name, value = line:match("^(.-): (.*)$")
  wrk.headers[name] = value
end

local agents = tonumber(os.getenv("AGENTS"))
if agents > 0 then
  local requests = {}
  local last = 0

  function init()
    local agent = wrk.headers["User-Agent"]
    for number = 1, agents do
      wrk.headers["User-Agent"] = agent .. " ci/" .. number
      requests[number] = wrk.format()
    end
  end

  function request()
    last = last % agents + 1
    return requests[last]
  end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %f, "bytes": %d, "p99": %f, "errors": %d}',
    summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.timeout + errors.status))
end
