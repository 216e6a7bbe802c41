"""What gunicorn serves."""

import gc
import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()

# All pages are loaded before the first is asked for, and what is loaded stays: to look through it for garbage again and
# again took 75 ms a time, in the middle of somebody's vote.
import_module(settings.ROOT_URLCONF)
gc.collect()
gc.freeze()
