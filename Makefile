# pg_once: message queues that commit with your own transaction
#
#   make && make install      build and install for the pg_config on PATH
#   make installcheck         regression, isolation and TAP tests on a running server
#   make WERROR=1             warnings about our own code are errors
#   make EXTRA_CFLAGS=...     more options for the compiler
#   make indent               lay out the C code; test/indent gets the programs for it
#   make dist                 make pg_once-VERSION.zip, as for PGXN
#
# All of it also works from another directory, where the results are then put:
# make -f ../pg_once/Makefile.

# The sources are where this file is.  PGXS takes the directory from VPATH.
ifeq ($(VPATH),)
VPATH := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
endif
srcdir := $(VPATH)

# Files of the source tree that match patterns.  Patterns and results are relative
# to the source tree.
in_srcdir = $(patsubst $(srcdir)/%,%,$(sort $(wildcard $(addprefix $(srcdir)/,$(1)))))

EXTENSION = pg_once
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(srcdir)/pg_once.control)

MODULE_big = pg_once
OBJS := $(patsubst %.c,%.o,$(call in_srcdir,src/*.c src/*/*.c))

# The install script is the concatenation of its topics, in the order of their
# numbers.  The version lives in the control file and nowhere else.
INSTALL_SQL := $(addprefix $(srcdir)/,$(call in_srcdir,src/install/*.sql))
DATA_built = $(EXTENSION)--$(EXTVERSION).sql
DATA := $(call in_srcdir,src/install/upgrade/*.sql)
DOCS := $(call in_srcdir,doc/*.md)

ifeq ($(and $(EXTVERSION),$(OBJS),$(INSTALL_SQL)),)
$(error no sources of pg_once in "$(srcdir)" (make cannot read a path with spaces))
endif

REGRESS := $(patsubst sql/%.sql,%,$(call in_srcdir,sql/*.sql))
REGRESS_OPTS = --load-extension=pg_once

ISOLATION := $(patsubst test/isolation/specs/%.spec,%,$(call in_srcdir,test/isolation/specs/*.spec))
ISOLATION_OPTS = --inputdir=$(srcdir)/test/isolation --load-extension=pg_once

PROVE_TESTS := $(call in_srcdir,test/t/*.pl)
ifneq ($(PROVE_TESTS),)
TAP_TESTS = 1
endif

# These warnings of -Wextra come from the server's own headers.
PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare
ifdef WERROR
PG_CFLAGS += -Werror
endif
PG_CFLAGS += $(EXTRA_CFLAGS)

EXTRA_CLEAN = $(EXTENSION)--*.sql $(EXTENSION)-*.zip

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
ifeq ($(PGXS),)
$(error no server to build for: PG_CONFIG, "$(PG_CONFIG)", must be the pg_config of one)
endif
include $(PGXS)

# Search the source tree for sources only, because it may have the results of another
# build.
srcdir := $(srcdir)
override VPATH :=
vpath %.c $(srcdir)
vpath %.control $(srcdir)

# vpath does not search for absolute names.
BUILD_DIRS := $(addprefix $(CURDIR)/,$(sort $(dir $(OBJS))))
$(BUILD_DIRS):
	mkdir -p $@
$(OBJS) $(OBJS:.o=.bc): | $(BUILD_DIRS)

# PGXS does not track headers.
HEADERS_SEEN := $(wildcard $(srcdir)/src/*.h $(srcdir)/src/*/*.h)
$(OBJS) $(OBJS:.o=.bc): $(HEADERS_SEEN)

$(DATA_built): $(INSTALL_SQL) $(srcdir)/pg_once.control
	cat $(INSTALL_SQL) > $@

# Lay out the C code with PostgreSQL's own programs.  PGINDENT is the pgindent of
# PostgreSQL 16 or later, with its typedefs.list beside it.  PG_BSD_INDENT is the
# program that it runs.
C_FILES = $(addprefix $(srcdir)/,$(call in_srcdir,src/*.[ch] src/*/*.[ch]))
indent:
	@[ -f "$(PGINDENT)" ] || { echo >&2 "make indent: PGINDENT must name PostgreSQL's pgindent; test/indent gets it"; exit 1; }
	@[ -f "$(dir $(PGINDENT))typedefs.list" ] || { echo >&2 "make indent: there is no typedefs.list beside $(PGINDENT)"; exit 1; }
	@[ -x "$(PG_BSD_INDENT)" ] || { echo >&2 "make indent: PG_BSD_INDENT must name PostgreSQL's pg_bsd_indent; test/indent gets it"; exit 1; }
	perl $(srcdir)/test/lib/typedefs.pl $(C_FILES) > $(srcdir)/src/typedefs.list
	perl $(PGINDENT) --indent=$(PG_BSD_INDENT) --typedefs=$(dir $(PGINDENT))typedefs.list \
		--list-of-typedefs="$$(cat $(srcdir)/src/typedefs.list)" $(C_FILES)
.PHONY: indent

# The archive for PGXN has the last commit.  Where there is no repository, as in an unpacked archive, it has all
# files that .gitignore does not exclude.
DIST = $(EXTENSION)-$(EXTVERSION)
GIT_ARCHIVE = archive --format=zip --prefix=$(DIST)/ -o $(CURDIR)/$(DIST).zip
dist:
ifneq ($(wildcard $(srcdir)/.git),)
	git -C $(srcdir) $(GIT_ARCHIVE) HEAD
	@git -C $(srcdir) diff --quiet HEAD || echo >&2 "make dist: changes that are not committed are left out"
else
	repository=$$(mktemp -d) && trap 'rm -rf "$$repository"' EXIT && \
	git="git -C $(srcdir) --git-dir=$$repository --work-tree=." && \
	git init -q --bare $$repository && $$git add --all . && $$git $(GIT_ARCHIVE) $$($$git write-tree)
endif
.PHONY: dist

# Otherwise a file that was not written to its end would seem complete next time.
.DELETE_ON_ERROR:
