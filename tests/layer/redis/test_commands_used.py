"""What the engine asks Redis for: no more than a user of its own is allowed, and nothing that Valkey has not."""

from __future__ import annotations

from .commands_used import documented, used

# Of https://valkey.io/commands/, those that were there from Valkey's first version on, 7.2.
_VALKEY = """
    copy del dump exists expire expireat expiretime keys migrate move object|encoding object|freq object|idletime
    object|refcount persist pexpire pexpireat pexpiretime pttl randomkey rename renamenx restore scan sort sort_ro touch
    ttl type unlink wait waitaof
    append decr decrby get getdel getex getrange getset incr incrby incrbyfloat lcs mget mset msetnx psetex set setex
    setnx setrange strlen substr
    blmove blmpop blpop brpop brpoplpush lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange lrem lset ltrim
    rpop rpoplpush rpush rpushx
    sadd scard sdiff sdiffstore sinter sintercard sinterstore sismember smembers smismember smove spop srandmember srem
    sscan sunion sunionstore
    hdel hexists hget hgetall hincrby hincrbyfloat hkeys hlen hmget hmset hrandfield hscan hset hsetnx hstrlen hvals
    bzmpop bzpopmax bzpopmin zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop
    zmscore zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem zremrangebylex
    zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion zunionstore
    xack xadd xautoclaim xclaim xdel xgroup|create xgroup|createconsumer xgroup|delconsumer xgroup|destroy xgroup|setid
    xinfo|consumers xinfo|groups xinfo|stream xlen xpending xrange xread xreadgroup xrevrange xsetid xtrim
    eval evalsha evalsha_ro eval_ro fcall fcall_ro script|debug script|exists script|flush script|kill script|load
    auth client|caching client|getname client|getredir client|id client|info client|kill client|list client|no-evict
    client|no-touch client|pause client|reply client|setinfo client|setname client|tracking client|trackinginfo
    client|unblock client|unpause echo hello ping quit reset select
    dbsize flushall flushdb info role time
    psubscribe publish pubsub|channels pubsub|numpat pubsub|numsub punsubscribe spublish ssubscribe subscribe
    sunsubscribe unsubscribe discard exec multi unwatch watch
    """


def test_valkey_has_all_of_it() -> None:
    assert len(used()) > 50
    assert used() - set(_VALKEY.split()) == set()


def test_the_documented_user_may_do_this_and_nothing_else() -> None:
    first, *rights = documented()
    assert first == "-@all"
    assert rights == sorted(f"+{command}" for command in used())
