package dataplane

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"natlab/nat"
	"natlab/nat/xtables"
)

// Numbers of linux/netfilter/nf_tables.h.
const (
	nftGetChain = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETCHAIN
	nftGetRule  = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE
)

// ReadNFTTables reads the tables of iptables-nft from nf_tables, without any program: chains and rules as iptables-nft
// means them, xt extensions with their revisions and bytes. Tables and chains come in the order of iptables-nft-save.
func ReadNFTTables(ns Namespace, family nat.Family) (tables []xtables.Table, err error) {
	err = ns.Do(func() error {
		names, err := nftTables(family)
		if err != nil || len(names) == 0 {
			return err
		}
		c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return fmt.Errorf("open nfnetlink: %w", err)
		}
		defer func() { _ = c.Close() }()
		for _, name := range names {
			t, err := readNFTTable(c, family, name)
			if err != nil {
				return err
			}
			tables = append(tables, t)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the %s tables of nf_tables: %w", family, err)
	}
	return tables, nil
}

func readNFTTable(c *netlink.Conn, family nat.Family, name string) (xtables.Table, error) {
	chains, err := nftDump(c, family, nftGetChain, unix.NFTA_CHAIN_TABLE, name, parseNFTChain)
	if err != nil {
		return xtables.Table{}, fmt.Errorf("table %s: chains: %w", name, err)
	}
	rules, err := nftDump(c, family, nftGetRule, unix.NFTA_RULE_TABLE, name, parseNFTRule)
	if err != nil {
		return xtables.Table{}, fmt.Errorf("table %s: rules: %w", name, err)
	}
	slices.SortStableFunc(chains, func(a, b xtables.NFTChain) int { return cmp.Compare(a.Name, b.Name) })
	return xtables.DecodeNFT(family, name, chains, rules)
}

// nftDump asks for all objects of a kind and parses those of the table. A dump that a change has run through is begun
// anew.
func nftDump[T any](c *netlink.Conn, family nat.Family, kind int, tableAttr uint16, table string, parse func(*netlink.AttributeDecoder) (T, error)) ([]T, error) {
	af := byte(unix.AF_INET)
	if family == nat.IPv6 {
		af = unix.AF_INET6
	}
	for range attempts {
		attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: tableAttr, Data: append([]byte(table), 0)}})
		if err != nil {
			return nil, err
		}
		replies, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | netlink.Dump},
			Data:   append([]byte{af, unix.NFNETLINK_V0, 0, 0}, attrs...),
		})
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return nftObjects(replies, tableAttr, table, parse)
	}
	return nil, fmt.Errorf("it changed each of the %d times it was read", attempts)
}

func nftObjects[T any](replies []netlink.Message, tableAttr uint16, table string, parse func(*netlink.AttributeDecoder) (T, error)) ([]T, error) {
	var out []T
	for _, m := range replies {
		if len(m.Data) < 4 {
			return nil, fmt.Errorf("a reply of %d bytes", len(m.Data))
		}
		of, err := nftTableOf(m.Data[4:], tableAttr)
		if err != nil {
			return nil, err
		}
		if of != table {
			continue // older kernels do not filter
		}
		d, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return nil, err
		}
		d.ByteOrder = binary.BigEndian
		one, err := parse(d)
		if err == nil {
			err = d.Err()
		}
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

func nftTableOf(b []byte, tableAttr uint16) (string, error) {
	d, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return "", err
	}
	for d.Next() {
		if d.Type() == tableAttr {
			return d.String(), nil
		}
	}
	return "", d.Err()
}

func parseNFTChain(d *netlink.AttributeDecoder) (c xtables.NFTChain, err error) {
	c.Policy = xtables.VerdictAccept
	for d.Next() {
		switch d.Type() {
		case unix.NFTA_CHAIN_NAME:
			c.Name = d.String()
		case unix.NFTA_CHAIN_HOOK:
			c.BaseChain = true
			d.Nested(func(n *netlink.AttributeDecoder) error {
				for n.Next() {
					if n.Type() == unix.NFTA_HOOK_HOOKNUM {
						c.Hook = nat.Hook(n.Uint32())
					}
				}
				return nil
			})
		case unix.NFTA_CHAIN_POLICY:
			if d.Uint32() == 0 { // NF_DROP
				c.Policy = xtables.VerdictDrop
			}
		case unix.NFTA_CHAIN_COUNTERS:
			d.Nested(func(n *netlink.AttributeDecoder) error {
				for n.Next() {
					switch n.Type() {
					case unix.NFTA_COUNTER_BYTES:
						c.Bytes = n.Uint64()
					case unix.NFTA_COUNTER_PACKETS:
						c.Packets = n.Uint64()
					}
				}
				return nil
			})
		}
	}
	return c, nil
}

func parseNFTRule(d *netlink.AttributeDecoder) (r xtables.NFTRule, err error) {
	for d.Next() {
		switch d.Type() {
		case unix.NFTA_RULE_CHAIN:
			r.Chain = d.String()
		case unix.NFTA_RULE_EXPRESSIONS:
			r.Expressions = d.Bytes()
		}
	}
	return r, nil
}
