package dataplane

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"

	"natlab/nat"
)

// Foreign names what nf_tables of a namespace holds besides the tables of iptables-nft and natlab's own, a line each:
// "nft table inet firewall: chain forward at forward, priority 0". No table is read but for its chains.
func Foreign(ns Namespace) (lines []string, err error) {
	err = ns.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := c.ListTables()
		if err != nil {
			return err
		}
		tables = slices.DeleteFunc(tables, known)
		if len(tables) == 0 {
			return nil
		}
		chains, err := c.ListChains()
		if err != nil {
			return err
		}
		for _, t := range tables {
			lines = append(lines, foreignTable(t, chains))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the tables of nf_tables: %w", err)
	}
	slices.Sort(lines)
	return lines, nil
}

// ownPrefix begins the names of natlab's own tables.
const ownPrefix = "natlab"

// known reports whether a table is one that iptables-nft keeps, or natlab's own.
func known(t *nftables.Table) bool {
	iptables := t.Family == nftables.TableFamilyIPv4 || t.Family == nftables.TableFamilyIPv6
	return iptables && (nat.TableHooks(t.Name) != nil || strings.HasPrefix(t.Name, ownPrefix))
}

func foreignTable(t *nftables.Table, chains []*nftables.Chain) string {
	var at []string
	for _, c := range chains {
		if c.Table.Name != t.Name || c.Table.Family != t.Family || c.Hooknum == nil {
			continue
		}
		where := "chain " + c.Name + " at " + hookName(t.Family, *c.Hooknum)
		if c.Priority != nil {
			where += fmt.Sprintf(", priority %d", *c.Priority)
		}
		at = append(at, where)
	}
	line := "nft table " + nat.NFProtoName(byte(t.Family)) + " " + t.Name
	if len(at) > 0 {
		line += ": " + strings.Join(at, "; ")
	}
	return line
}

// hookName is a hook's name: netdev's are of a device, all others have those of IP in common.
func hookName(family nftables.TableFamily, hook nftables.ChainHook) string {
	names := []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}
	if family == nftables.TableFamilyNetdev {
		names = []string{"ingress", "egress"}
	}
	if family == nftables.TableFamilyARP {
		names = []string{"input", "output"}
	}
	if int(hook) < len(names) {
		return names[hook]
	}
	return fmt.Sprintf("hook %d", hook)
}
