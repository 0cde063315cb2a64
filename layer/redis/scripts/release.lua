#!lua flags=allow-oom
-- uses _queue.lua _group.lua
-- Give an inbox back: a process-named one goes with its memberships, a lasting one keeps them.
-- KEYS: none are known before.  ARGV: P, inbox, holder.
local now = time()
local Q = inbox(ARGV[2])
if not Q.known or Q.holder ~= ARGV[3] or not Q.lease then return end
Q.lease, Q.holder = now, ''
save(Q, now)
if Q.lasting then return end
call('UNLINK', Q.q, Q.z, Q.d)
call('HDEL', Q.m, 'u', 's', 'n', 'f', 'x', 'r')
bury(Q, SLICE)
