package witness

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"natlab/nat"
)

// tableOf is a table's name in a Step: that of an iptables table of the family that is watched alone, any other's with its family, as
// nft(8) has it: "inet filter" is none of iptables'.
func (m *member) tableOf(family byte, name []byte) string {
	if family == m.layout.number {
		switch string(name) { // each traced packet comes here again and again
		case tableName:
			return m.own
		case "raw":
			return "raw"
		case "mangle":
			return "mangle"
		case "nat":
			return "nat"
		case "filter":
			return "filter"
		case "security":
			return "security"
		}
	}
	return nat.NFProtoName(family) + " " + string(name)
}

// hasTables reports whether the namespace has tables of nf_tables, of any family, besides natlab's.
func (m *member) hasTables() (has bool, err error) {
	err = m.control.request(newMessage(nftGetTable, unix.NLM_F_DUMP, unix.AF_UNSPEC, 0), func(kind uint16, body []byte) {
		if kind != nftNewTable || len(body) < genHeader {
			return
		}
		a := attributes(body[genHeader:])
		for kind, value, more := a.next(); more; kind, value, more = a.next() {
			if kind == unix.NFTA_TABLE_NAME && m.tableOf(body[0], text(value)) != m.own {
				has = true
			}
		}
	})
	return has, err
}

// readPlaces dumps the rules of all families; the kernel gives each chain's in their order.
func (m *member) readPlaces() error {
	var chain position
	return m.control.request(newMessage(nftGetRule, unix.NLM_F_DUMP, unix.AF_UNSPEC, 0), func(kind uint16, body []byte) {
		if kind != nftNewRule || len(body) < genHeader {
			return
		}
		var table, name []byte
		var handle uint64
		a := attributes(body[genHeader:])
		for {
			kind, value, more := a.next()
			if !more {
				break
			}
			switch kind {
			case unix.NFTA_RULE_TABLE:
				table = text(value)
			case unix.NFTA_RULE_CHAIN:
				name = text(value)
			case unix.NFTA_RULE_HANDLE:
				handle = u64(value)
			}
		}
		in := m.tableOf(body[0], table)
		if in == m.own {
			return
		}
		if chain.table != in || chain.chain != string(name) {
			chain = position{table: in, chain: string(name)}
		}
		if m.places[chain.table] == nil {
			m.places[chain.table] = map[uint64]position{}
		}
		chain.number++
		m.places[chain.table][handle] = chain
	})
}

// readHooks dumps the base chains: a trace tells a chain's name, and only iptables' tell the hook.
func (m *member) readHooks() error {
	m.hooks = map[[2]string]nat.Hook{}
	return m.control.request(newMessage(nftGetChain, unix.NLM_F_DUMP, unix.AF_UNSPEC, 0), func(kind uint16, body []byte) {
		if kind != nftNewChain || len(body) < genHeader {
			return
		}
		var table, name []byte
		hook, based := uint32(0), false
		a := attributes(body[genHeader:])
		for {
			kind, value, more := a.next()
			if !more {
				break
			}
			switch kind {
			case unix.NFTA_CHAIN_TABLE:
				table = text(value)
			case unix.NFTA_CHAIN_NAME:
				name = text(value)
			case unix.NFTA_CHAIN_HOOK:
				hook, based = hookNumber(value)
			}
		}
		if based && int(hook) < len(nat.Hooks()) {
			m.hooks[[2]string{m.tableOf(body[0], table), string(name)}] = nat.Hook(hook)
		}
	})
}

func hookNumber(nested []byte) (hook uint32, ok bool) {
	a := attributes(nested)
	for {
		kind, value, more := a.next()
		if !more {
			return 0, false
		}
		if kind == unix.NFTA_HOOK_HOOKNUM && len(value) >= 4 {
			return binary.BigEndian.Uint32(value), true
		}
	}
}
