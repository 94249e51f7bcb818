package inspect

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/view"
	"natlab/nat/xtables"
)

// Raw is what a namespace's kernel holds for one backend of iptables, as bytes.
type Raw struct {
	Backend dataplane.Backend
	Tables  []xtables.Table
	Sets    map[uint16]string // names of the ipsets that rules may refer to
	Unasked bool              // natlab laid the bytes out itself, because no kernel could be asked
}

// Read reads the tables of one family from ip_tables, or from nf_tables. It runs no program, changes nothing and
// makes no table.
func Read(ns dataplane.Namespace, b dataplane.Backend, family nat.Family) (Raw, error) {
	read := dataplane.ReadTables
	if b == dataplane.NFT {
		read = dataplane.ReadNFTTables
	}
	tables, err := read(ns, family)
	if err != nil {
		return Raw{}, err
	}
	sets, err := dataplane.SetNames(ns)
	if err != nil {
		return Raw{}, err
	}
	return Raw{Backend: b, Tables: tables, Sets: sets}, nil
}

// Ruleset is the rules in words.
func (r Raw) Ruleset(family nat.Family) iptables.Ruleset {
	return xtables.Ruleset(family, r.Sets, r.Tables...)
}

// Here is the network namespace that natlab itself runs in.
type Here struct{}

// Do runs f.
func (Here) Do(f func() error) error { return f() }

var _ dataplane.Namespace = Here{}

// Load loads a saved rule set into a namespace of its own, reads back what the kernel made of it, and takes the
// namespace away. What natlab has no bytes for is loaded by iptables-legacy-restore, which must be installed for that.
// Without root, or on a kernel without ip_tables, natlab lays the bytes out as the kernel would.
func Load(ctx context.Context, saved string, family nat.Family) (Raw, error) {
	raw, err := loadAlone(ctx, saved, family)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOPROTOOPT) {
		return layOut(saved, family)
	}
	return raw, err
}

// layOut turns saved rules into tables without any kernel, in the order in which one would list them: the last first.
func layOut(saved string, family nat.Family) (Raw, error) {
	raw := Raw{Backend: dataplane.Legacy, Unasked: true, Sets: map[uint16]string{}}
	w := xtables.Writer{Family: family, Version: view.Newest, Sets: map[string]uint16{}}
	for i, name := range named(matchSet, saved) {
		w.Sets[name], raw.Sets[uint16(i)] = uint16(i), name
	}
	tables, err := w.ReadSave(saved)
	if err != nil {
		return Raw{}, fmt.Errorf("load the rules: %w", err)
	}
	for _, t := range slices.Backward(tables) {
		raw.Tables = append(raw.Tables, t.Complete())
	}
	return raw, nil
}

func loadAlone(ctx context.Context, saved string, family nat.Family) (raw Raw, err error) {
	name := "natlab-view-" + rand.Text()
	ns, err := netns.Create(name)
	if err != nil {
		return Raw{}, fmt.Errorf("a namespace to load the rules into: %w", err)
	}
	defer func() { err = errors.Join(err, ns.Close(), netns.Delete(name)) }()
	if err := load(ctx, ns, saved, family); err != nil {
		return Raw{}, fmt.Errorf("load the rules: %w", err)
	}
	return Read(ns, dataplane.Legacy, family)
}

// Rules name nfacct objects and ipsets that must be there before them.
var (
	accounted = regexp.MustCompile(`--nfacct-name +"?([^\s"]+)`)
	matchSet  = regexp.MustCompile(`--match-set +"?([^\s"]+)`)
)

func load(ctx context.Context, ns netns.Handle, saved string, family nat.Family) error {
	if err := dataplane.MakeCounters(ns, named(accounted, saved)...); err != nil {
		return err
	}
	if err := dataplane.MakeSets(ns, family, named(matchSet, saved)...); err != nil {
		return err
	}
	sets, err := dataplane.SetNames(ns)
	if err != nil {
		return err
	}
	w := xtables.Writer{Family: family, Version: view.Newest, Sets: map[string]uint16{}}
	for number, name := range sets {
		w.Sets[name] = number
	}
	tables, err := w.ReadSave(saved)
	if err == nil {
		for i := range tables {
			tables[i] = tables[i].Complete()
		}
		if err = dataplane.WriteTables(ns, tables...); err == nil {
			return nil
		}
	}
	if !errors.Is(err, xtables.ErrNotEncodable) {
		return err
	}
	rs, err := iptables.ParseString(saved, family)
	if err != nil {
		return err
	}
	d, err := dataplane.New(dataplane.Legacy)
	if err != nil {
		return err
	}
	return d.Install(ctx, ns, rs)
}

// named lists what an expression finds, each once.
func named(e *regexp.Regexp, text string) []string {
	var out []string
	for _, m := range e.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(out, m[1]) {
			out = append(out, m[1])
		}
	}
	return out
}
