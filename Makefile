# pg_once: message queues that commit with your own transaction
#
#   make && make install      build and install for the pg_config on PATH
#   make installcheck         regression, isolation and TAP tests on a running server
#   make WERROR=1             warnings about our own code are errors
#   make EXTRA_CFLAGS=...     whatever else the compiler should be told

EXTENSION = pg_once
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" pg_once.control)

MODULE_big = pg_once
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))

# The install script is the concatenation of its topics, in the order of their
# numbers.  The version lives in the control file and nowhere else.
INSTALL_SQL = $(sort $(wildcard src/install/*.sql))
DATA_built = $(EXTENSION)--$(EXTVERSION).sql
DATA = $(wildcard src/install/upgrade/*.sql src/install/frozen/*.sql)

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --load-extension=pg_once

ISOLATION = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --load-extension=pg_once

PROVE_TESTS = $(sort $(wildcard test/t/*.pl))
ifneq ($(PROVE_TESTS),)
TAP_TESTS = 1
endif

# What -Wextra says about the server's own headers is not ours to mend.
PG_CPPFLAGS = -Isrc
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare
ifdef WERROR
PG_CFLAGS += -Werror
endif
PG_CFLAGS += $(EXTRA_CFLAGS)

EXTRA_CLEAN = $(EXTENSION)--*.sql

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS does not track headers.
HEADERS_SEEN = $(wildcard src/*.h src/*/*.h)
$(OBJS): $(HEADERS_SEEN)
$(patsubst %.o,%.bc,$(OBJS)): $(HEADERS_SEEN)

$(DATA_built): $(INSTALL_SQL) pg_once.control
	cat $(INSTALL_SQL) > $@
