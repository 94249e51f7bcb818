package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"

	"natlab/nat"
	"natlab/nat/iptables"
)

// Dump reads the backend's tables with their counters.
func (p *programs) Dump(ctx context.Context, ns Namespace, family nat.Family) (iptables.Ruleset, error) {
	return p.dump(ctx, ns, family, nil)
}

func (p *programs) dump(ctx context.Context, ns Namespace, family nat.Family, known *Reader) (iptables.Ruleset, error) {
	var lines *iptables.Dictionary
	if known != nil {
		if rs, ok := p.held(ns, family, known); ok {
			return rs, nil
		}
		lines = &known.known
	}
	text, err := p.save(ctx, ns, family)
	if err != nil || text == "" {
		return iptables.Ruleset{Family: family}, err
	}
	rs, err := lines.Parse(strings.NewReader(text), family)
	if err != nil {
		return iptables.Ruleset{Family: family}, fmt.Errorf("what %s printed: %w", p.program(family, "save"), err)
	}
	return rs, nil
}

// save is the backend's iptables-save -c, and "" without starting a program where no table exists.
func (p *programs) save(ctx context.Context, ns Namespace, family nat.Family) (string, error) {
	tables, err := p.tables(ns, family)
	if err != nil || len(tables) == 0 {
		return "", err
	}
	name := p.program(family, "save")
	text, stderr, err := run(ctx, ns, name, "", "--counters")
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, reason(stderr))
	}
	return text, nil
}

// tables lists the tables of this backend that exist in the namespace, in the order of iptables-save.
func (p *programs) tables(ns Namespace, family nat.Family) (names []string, err error) {
	err = ns.Do(func() error {
		names, err = p.present(family)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the %s tables of %s: %w", family, p.backend, err)
	}
	return names, nil
}

// legacyTables reads the names that ip_tables knows in the namespace of this thread. A table exists from the first time
// that a program asks for it.
func legacyTables(family nat.Family) ([]string, error) {
	file := "/proc/thread-self/net/ip_tables_names"
	if family == nat.IPv6 {
		file = "/proc/thread-self/net/ip6_tables_names"
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the kernel has no ip_tables, or it was never asked for
	}
	return strings.Fields(string(b)), err
}

// nftTables lists the nf_tables tables of this thread's namespace that bear the name of an iptables table.
func nftTables(family nat.Family) ([]string, error) {
	tables, err := listNFT(family)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range tables {
		names = append(names, t.Name)
	}
	return names, nil
}

func listNFT(family nat.Family) ([]*nftables.Table, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	wanted := nftables.TableFamilyIPv4
	if family == nat.IPv6 {
		wanted = nftables.TableFamilyIPv6
	}
	tables, err := c.ListTablesOfFamily(wanted)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(tables, func(t *nftables.Table) bool {
		return nat.TableHooks(t.Name) == nil
	}), nil
}

// removeLegacy empties the tables: ip_tables has no way to take one away while the namespace lives.
func removeLegacy(ctx context.Context, p *programs, ns Namespace, family nat.Family) error {
	names, err := p.tables(ns, family)
	if err != nil || len(names) == 0 {
		return err
	}
	var input strings.Builder
	for _, name := range names {
		input.WriteString(emptyTable(name))
	}
	return p.restore(ctx, ns, family, input.String())
}

// removeNFT deletes the tables.
func removeNFT(_ context.Context, _ *programs, ns Namespace, family nat.Family) error {
	return ns.Do(func() error {
		tables, err := listNFT(family)
		if err != nil || len(tables) == 0 {
			return err
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		for _, t := range tables {
			c.DelTable(t)
		}
		return c.Flush()
	})
}
