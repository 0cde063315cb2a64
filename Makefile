# The two commands of the README, and what contributors use beside them.

PYTHON ?= python3
SCALE ?= 20
VENV := .venv/bin
DEFINITION := setup.cfg pyproject.toml scripts/virtual-environment scripts/debian-packages

.DEFAULT_GOAL := help
.PHONY: help run test campaigns lint docs clean

help:
	@echo "make run         set up and start everything: HTTP and WebSocket on 8000, SMTP on 2525, a worker, the helpdesk demo"
	@echo "make test        set up what the tests need, and run them all"
	@echo "make lint        ruff and mypy"
	@echo "make campaigns   the random checks in full (SCALE=20 times those of make test), with their counts"
	@echo "make docs        build the documentation into docs/_build/html"
	@echo "make clean       remove what these made"

run: .venv/run.stamp
	@echo
	@echo "The helpdesk: browsers and mail in one room. Try, in another terminal:"
	@echo "  open http://127.0.0.1:8000/ in two windows, and say something"
	@echo "  swaks --server 127.0.0.1:2525 --to support+42@example.com --body 'My printer is on fire.'"
	@echo "  swaks --server 127.0.0.1:2525 --to nobody@example.com       (refused at RCPT)"
	@echo "  swaks --server 127.0.0.1:2525 --to broken@example.com       (its consumer fails: the sender keeps the mail)"
	@command -v swaks >/dev/null || echo "  (swaks sends mail from the command line: apt-get install swaks)"
	@echo
	@cd examples/helpdesk && exec "$(CURDIR)/$(VENV)/trunkline" run

test: .venv/test.stamp
	@sh scripts/debian-packages "swaks=swaks libnet-ssleay-perl" chromium curl nghttp=nghttp2-client redis-server redis-sentinel nodejs ngircd inspircd
	@sh scripts/postfix-tools .venv/postfix
	@$(VENV)/python scripts/run-tests

campaigns: .venv/test.stamp
	@PYTHONPATH=scripts SCALE=$(SCALE) $(VENV)/python -m pytest -p campaigns -m "hypothesis or campaign" \
		--hypothesis-show-statistics --timeout 3600

lint: .venv/test.stamp
	@$(VENV)/ruff check
	@$(VENV)/mypy

docs: .venv/docs.stamp
	@$(VENV)/sphinx-build -q -W --keep-going docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf .venv build dist docs/_build docs/reference/generated .coverage .coverage.* *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Each environment is the same folder with more in it; a stamp says that it holds what the definition asks for.
.venv/run.stamp: EXTRAS = http,email
.venv/test.stamp: EXTRAS = test
.venv/docs.stamp: EXTRAS = docs
.venv/%.stamp: $(DEFINITION)
	@sh scripts/virtual-environment $(PYTHON) $(EXTRAS)
	@touch $@
