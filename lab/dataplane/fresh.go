package dataplane

import (
	"context"
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xt"
	"natlab/nat/xtables"
)

// installed is the version of iptables-legacy that is installed, asked for once.
type installed struct {
	once    sync.Once
	version xt.Version
	known   bool
}

func (i *installed) read(ctx context.Context) (xt.Version, bool) {
	i.once.Do(func() {
		text, err := Version(context.WithoutCancel(ctx), Legacy)
		if err != nil {
			return
		}
		number, _, _ := strings.Cut(text, " ")
		i.version, err = xt.ParseVersion(number)
		i.known = err == nil
	})
	return i.version, i.known
}

// slots bound how many namespaces' tables are in memory at a time: a node's may be megabytes.
type slots chan struct{}

func newSlots() slots { return make(slots, runtime.GOMAXPROCS(0)) }

func (s slots) take() (free func()) {
	s <- struct{}{}
	return func() { <-s }
}

// fresh writes the tables of a rule set into a namespace that has none of iptables-legacy, as iptables-legacy-restore of the installed
// version would, but without a program for each namespace. false: it did not, or not all of it: that is left to the program, which also tells
// what is wrong.
func (p *programs) fresh(ctx context.Context, ns Namespace, rs iptables.Ruleset) bool {
	if p.backend == NFT || ctx.Err() != nil {
		return false
	}
	version, known := p.installed.read(ctx)
	if !known {
		return false
	}
	defer p.slots.take()()
	blobs, err := xtables.Writer{Family: rs.Family, Version: version}.Blobs(rs)
	if err != nil {
		return false
	}
	return ns.Do(func() error {
		unlock, err := lockTables()
		if err != nil {
			return err
		}
		defer unlock()
		s, err := openXtables(rs.Family)
		if err != nil {
			return err
		}
		defer s.close()
		for _, b := range blobs {
			if err := s.replace(b); err != nil {
				return err
			}
		}
		return nil
	}) == nil
}

// held reads what iptables-legacy holds in a namespace without a program for each: as iptables-legacy-save would print it. false: that is left to
// the program, because it fails, or because there is what natlab alone has no words for.
func (p *programs) held(ns Namespace, family nat.Family, known *Reader) (iptables.Ruleset, bool) {
	if p.backend == NFT {
		return iptables.Ruleset{}, false
	}
	taken := known.room.enter()
	defer taken.leave()
	blobs, err := readBlobs(ns, family, taken.take)
	if err != nil {
		return iptables.Ruleset{}, false
	}
	rs, err := known.entries.Ruleset(family, blobs...)
	return rs, err == nil && !opaque(rs)
}

// opaque reports whether a rule has an extension by its bytes.
func opaque(rs iptables.Ruleset) bool {
	for _, t := range rs.Tables {
		for i := range t.Chains {
			for _, r := range t.Chains[i].Rules {
				if _, raw := r.Target.(xt.RawTarget); raw {
					return true
				}
				for _, m := range r.Matches {
					if _, raw := m.(xt.RawMatch); raw {
						return true
					}
				}
			}
		}
	}
	return false
}

// lockTables takes the lock that the programs take (lockFile), of the thread's namespace.
func lockTables() (unlock func(), err error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close() // opened for reading
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
