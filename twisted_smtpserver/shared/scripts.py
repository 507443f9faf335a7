"""
What Redis does for us, in Lua.

Redis runs a script as a whole: no other server's command comes between two lines of it. Each has
one key, so that Redis Cluster takes them, too; only :data:`ENTER` looks at other keys.
"""

from __future__ import annotations

#: Counts an event. ``ARGV``: milliseconds until the count is forgotten, from its first event on.
#: Returns the count.
COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 or redis.call('PTTL', KEYS[1]) < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return count
"""

#: Greylists. ``ARGV``: delay, window and memory in milliseconds. Returns 1 if the key is let in.
#: The time is Redis's own: the servers' clocks may differ.
GREYLIST = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local first = redis.call('GET', KEYS[1])
if not first then
  redis.call('SET', KEYS[1], string.format('%.0f', now), 'PX', ARGV[2])
  return 0
end
if now - tonumber(first) < tonumber(ARGV[1]) then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""

#: Counts a failed login. ``ARGV``: what stands for the user's name, milliseconds until all is
#: forgotten. Returns the count. ``row`` is how many of the last ones were with that name.
LOGIN_FAILED = """
local count = redis.call('HINCRBY', KEYS[1], 'count', 1)
if redis.call('HGET', KEYS[1], 'name') == ARGV[1] then
  redis.call('HINCRBY', KEYS[1], 'row', 1)
else
  redis.call('HSET', KEYS[1], 'name', ARGV[1], 'row', 1)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return count
"""

#: Forgets the last failed logins, as far as they were with this name. ``ARGV``: as before.
LOGIN_SUCCEEDED = """
local row = redis.call('HGET', KEYS[1], 'row')
if not row or row == '0' or redis.call('HGET', KEYS[1], 'name') ~= ARGV[1] then
  return 0
end
if redis.call('HINCRBY', KEYS[1], 'count', -row) <= 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'row', 0)
end
return 1
"""

#: Counts an open connection, unless there are too many. The key has a count for each server; those
#: of a server that hasn't said for long that it lives are forgotten. ``ARGV``: the server, what its
#: sign of life begins with, the limit, milliseconds until the key is forgotten, milliseconds that
#: the sign of life lasts. Returns 1 if it was counted.
ENTER = """
local total = 0
local counts = redis.call('HGETALL', KEYS[1])
for place = 1, #counts, 2 do
  local server = counts[place]
  if server == ARGV[1] or redis.call('EXISTS', ARGV[2] .. server) == 1 then
    total = total + counts[place + 1]
  else
    redis.call('HDEL', KEYS[1], server)
  end
end
if total >= tonumber(ARGV[3]) then
  return 0
end
redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('SET', ARGV[2] .. ARGV[1], 1, 'PX', ARGV[5])
return 1
"""

#: A connection is gone. ``ARGV``: the server.
LEAVE = """
if redis.call('HINCRBY', KEYS[1], ARGV[1], -1) <= 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
"""

#: The last sign of life.
GONE = "return redis.call('DEL', KEYS[1])"

#: A sign of life. ``ARGV``: milliseconds that it lasts.
ALIVE = """
redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
return 1
"""
