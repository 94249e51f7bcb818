package witness

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	ctnetlink "github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"natlab/nat"
	"natlab/nat/proof"
)

// openConns subscribes to what happens to the namespace's connection tracking entries.
func openConns(buffer int, open opener) (*socket, error) {
	s, err := open(buffer)
	if err != nil {
		return nil, err
	}
	for _, group := range []int{unix.NFNLGRP_CONNTRACK_NEW, unix.NFNLGRP_CONNTRACK_UPDATE, unix.NFNLGRP_CONNTRACK_DESTROY} {
		if err := s.join(group); err != nil {
			return nil, errors.Join(fmt.Errorf("subscribe to conntrack events: %w", err), s.close())
		}
	}
	return s, nil
}

// connEvent turns a ctnetlink event into an observation; ok is false for one of a family that natlab does not watch.
func (m *member) connEvent(f frame) (o proof.Observation, ok bool, err error) {
	var e ctnetlink.Event // which is gone before the read buffer, that it has views into, is used again
	err = e.Unmarshal(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(f.kind), Flags: netlink.HeaderFlags(f.flags)},
		Data:   f.body,
	})
	if err != nil || e.Flow == nil {
		return o, false, err
	}
	state := ""
	if e.Flow.ProtoInfo.TCP != nil {
		state = stateOf(nat.TCPStates, e.Flow.ProtoInfo.TCP.State)
	}
	return proof.Observation{
		State:  state,
		Kind:   proof.ConnSeen,
		Node:   m.name,
		Conn:   connOf(m.name, *e.Flow),
		Gone:   e.Type == ctnetlink.EventDestroy,
		ConnID: e.Flow.ID,
	}, true, nil
}

func connOf(node string, f ctnetlink.Flow) nat.Conn {
	return nat.Conn{
		Node:     node,
		ID:       f.ID,
		Original: tupleOf(f.TupleOrig),
		Reply:    tupleOf(f.TupleReply),
		Status:   nat.Status(f.Status),
		Mark:     f.Mark,
	}
}

func tupleOf(t ctnetlink.Tuple) nat.Tuple {
	src, dst := t.Proto.SourcePort, t.Proto.DestinationPort
	if t.Proto.ICMPv4 || t.Proto.ICMPv6 {
		src, dst = t.Proto.ICMPID, t.Proto.ICMPID
	}
	return nat.TupleOf(nat.Proto(t.Proto.Protocol),
		netip.AddrPortFrom(t.IP.SourceAddress, src), netip.AddrPortFrom(t.IP.DestinationAddress, dst))
}

// Counters are the sums over all CPUs of a namespace's connection tracking statistics (struct ip_conntrack_stat, as
// `conntrack -S` prints them). They only ever grow.
type Counters struct {
	Found         uint64 `json:"found"`
	Invalid       uint64 `json:"invalid"`
	Insert        uint64 `json:"insert"`
	InsertFailed  uint64 `json:"insert_failed"`
	Drop          uint64 `json:"drop"`
	EarlyDrop     uint64 `json:"early_drop"`
	Error         uint64 `json:"error"`
	SearchRestart uint64 `json:"search_restart"`
	ClashResolve  uint64 `json:"clash_resolve"`
	ChainTooLong  uint64 `json:"chaintoolong"`
}

// Sub is what was added since before.
func (c Counters) Sub(before Counters) Counters {
	return Counters{
		Found: c.Found - before.Found, Invalid: c.Invalid - before.Invalid, Insert: c.Insert - before.Insert,
		InsertFailed: c.InsertFailed - before.InsertFailed, Drop: c.Drop - before.Drop, EarlyDrop: c.EarlyDrop - before.EarlyDrop,
		Error: c.Error - before.Error, SearchRestart: c.SearchRestart - before.SearchRestart,
		ClashResolve: c.ClashResolve - before.ClashResolve, ChainTooLong: c.ChainTooLong - before.ChainTooLong,
	}
}

// at is the counter of an attribute (enum ctattr_stats_cpu); nil for those that kernels no longer count.
func (c *Counters) at(kind uint16) *uint64 {
	switch kind {
	case 2:
		return &c.Found
	case 4:
		return &c.Invalid
	case 8:
		return &c.Insert
	case 9:
		return &c.InsertFailed
	case 10:
		return &c.Drop
	case 11:
		return &c.EarlyDrop
	case 12:
		return &c.Error
	case 13:
		return &c.SearchRestart
	case 14:
		return &c.ClashResolve
	case 15:
		return &c.ChainTooLong
	}
	return nil
}

// Stats reads a namespace's connection tracking statistics. (ti-mo/conntrack's Stats leaves ClashResolve out.)
func (s *Session) Stats(_ context.Context, name string) (Counters, error) {
	m, err := s.member(name)
	if err != nil {
		return Counters{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.plane != nil {
		err := m.readPlane()
		return m.planeSaw.Counters, err
	}
	sum, err := countersBy(m.control)
	if err != nil {
		return Counters{}, fmt.Errorf("read the connection tracking statistics of %s: %w", name, err)
	}
	return sum, nil
}

// countersBy asks a namespace's kernel for the counters of every CPU, and adds them up.
func countersBy(s *socket) (sum Counters, err error) {
	err = s.request(newMessage(ctGetStatsCPU, unix.NLM_F_DUMP, unix.AF_UNSPEC, 0), func(_ uint16, body []byte) {
		if len(body) < genHeader {
			return
		}
		a := attributes(body[genHeader:])
		for {
			kind, value, more := a.next()
			if !more {
				return
			}
			if p := sum.at(kind); p != nil {
				*p += uint64(u32(value))
			}
		}
	})
	return sum, err
}

// CountersOf reads a namespace's connection tracking statistics. It needs no Session.
func CountersOf(ns Namespace) (sum Counters, err error) {
	err = ns.Do(func() error {
		s, err := openQuiet(readSize)
		if err != nil {
			return err
		}
		defer s.close() //nolint:errcheck // the request was answered
		sum, err = countersBy(s)
		return err
	})
	if err != nil {
		return Counters{}, fmt.Errorf("connection tracking statistics: %w", err)
	}
	return sum, nil
}

// String is what conntrack -S prints of one CPU, behind its number.
func (c Counters) String() string {
	return fmt.Sprintf("found=%d invalid=%d insert=%d insert_failed=%d drop=%d early_drop=%d error=%d search_restart=%d clash_resolve=%d chaintoolong=%d",
		c.Found, c.Invalid, c.Insert, c.InsertFailed, c.Drop, c.EarlyDrop, c.Error, c.SearchRestart, c.ClashResolve, c.ChainTooLong)
}
