#!lua flags=allow-oom
-- uses _queue.lua _durable.lua
-- Be done with a message, whoever has it.  KEYS: x, v, r, l of the queue.  ARGV: P, name, id.  Returns 1, or 0 if it is gone.
return remove(durable(ARGV[2]), ARGV[3] .. '-0')
