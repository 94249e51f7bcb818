// Package dataplane puts a rule set into a network namespace and reads back what is there, by the iptables programs
// of either backend. What the rules mean is not its business: it speaks nat/iptables' text to the kernel.
package dataplane

import (
	"context"
	"fmt"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xtables"
)

// Dataplane is one way of making a namespace obey a rule set.
type Dataplane interface {
	// Install makes the tables that rs lists hold exactly what rs has; tables it does not list are left alone. A rule
	// set that is refused leaves every table as it was, and the error is a *RefusedError.
	Install(ctx context.Context, ns Namespace, rs iptables.Ruleset) error
	// Dump reads what this backend holds in the namespace, with counters. Nothing installed is an empty Ruleset.
	Dump(ctx context.Context, ns Namespace, family nat.Family) (iptables.Ruleset, error)
	// Remove takes away this backend's rules of both families. It may be called twice, and where nothing is installed.
	Remove(ctx context.Context, ns Namespace) error
}

// Namespace is the door into a network namespace (lab/netns.Handle): Do runs f on a thread that is in it.
type Namespace interface {
	Do(f func() error) error
}

// Backend names a set of iptables programs and the kernel interface behind them.
type Backend string

// The backends. A node may hold rules of both at the same time.
const (
	Legacy Backend = "iptables-legacy" // ip_tables, iptables-legacy-restore
	NFT    Backend = "iptables-nft"    // nf_tables through nft_compat, iptables-nft-restore
)

// Userspace is what stands for a backend where NAT is not the kernel's: rules are lab/userspace's, and no program is to install them.
const Userspace Backend = "userspace"

// Backends lists every backend.
func Backends() []Backend { return []Backend{Legacy, NFT} }

// New returns the backend's Dataplane; "" is Legacy. It does not look whether the programs are installed: what needs one reports it.
func New(b Backend) (Dataplane, error) {
	p, err := newPrograms(b)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func newPrograms(b Backend) (*programs, error) {
	switch b {
	case "", Legacy:
		return &programs{backend: Legacy, command: "legacy", present: legacyTables, remove: removeLegacy, slots: newSlots()}, nil
	case NFT:
		return &programs{backend: NFT, command: "nft", present: nftTables, remove: removeNFT}, nil
	case Userspace: // the lab's own
	}
	return nil, fmt.Errorf("backend %q: want %s or %s", b, Legacy, NFT)
}

// programs drives one backend's iptables-restore and iptables-save.
type programs struct {
	backend Backend
	command string // the middle of the program's name: iptables-LEGACY-restore

	present func(nat.Family) ([]string, error) // the names of the tables that exist; called inside the namespace
	remove  func(context.Context, *programs, Namespace, nat.Family) error

	installed installed
	slots     slots
}

var _ Dataplane = (*programs)(nil)

// Remove empties and opens every table of this backend.
func (p *programs) Remove(ctx context.Context, ns Namespace) error {
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		if err := p.remove(ctx, p, ns, family); err != nil {
			return fmt.Errorf("remove the %s %s rules: %w", family, p.backend, err)
		}
	}
	return nil
}

// Installed is what one backend holds of one family.
type Installed struct {
	Backend Backend
	Rules   iptables.Ruleset
}

// DumpAll reads every backend that holds a table of the family, whoever put it there. A node whose rules are split over
// both backends runs both, and of two chains with the same hook and priority the one that was registered last first
// (nf_hook_entries_grow). iptables-nft registers its chains anew with every install, so its rules are listed first; only
// a legacy table that was first made in the namespace after that runs ahead of them, which no kernel interface tells
// before nfnetlink_hook.
func DumpAll(ctx context.Context, ns Namespace, family nat.Family) ([]Installed, error) {
	return dumpAll(ctx, ns, family, nil)
}

// Reader reads the rules of many namespaces that are much alike: a line that several have is read once, and kept once. The zero value is
// ready; its methods may be called by many goroutines.
type Reader struct {
	known   iptables.Dictionary // of lines
	entries xtables.Dictionary  // of what iptables-legacy has in the kernel
	room    room
}

// DumpAll is the function of that name.
func (r *Reader) DumpAll(ctx context.Context, ns Namespace, family nat.Family) ([]Installed, error) {
	return dumpAll(ctx, ns, family, r)
}

func dumpAll(ctx context.Context, ns Namespace, family nat.Family, known *Reader) ([]Installed, error) {
	var out []Installed
	for _, b := range []Backend{NFT, Legacy} {
		p, err := newPrograms(b)
		if err != nil {
			return nil, err
		}
		rs, err := p.dump(ctx, ns, family, known)
		if err != nil {
			return nil, err
		}
		if len(rs.Tables) > 0 {
			out = append(out, Installed{Backend: b, Rules: rs})
		}
	}
	return out, nil
}
