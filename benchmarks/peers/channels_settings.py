"""Django's settings of the Channels site: the tutorial's, without sessions and a database, which it would not use."""

import os

SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["channels"]
ROOT_URLCONF = "channels_site"
ASGI_APPLICATION = "channels_site.application"
if os.environ.get("BENCHMARK_REDIS"):
    # By default a channel holds 100 messages: 1 000 sockets would lose frames.
    options = {"hosts": [os.environ["BENCHMARK_REDIS"]], "capacity": 10_000}
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": options}}
