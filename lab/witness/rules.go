package witness

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"natlab/nat"
	"natlab/nat/proof"
)

// Attributes of NFT_MSG_TRACE that x/sys does not name (linux/netfilter/nf_tables.h since 6.16).
const (
	nftaTraceConnID        = 18 // NFTA_TRACE_CT_ID
	nftaTraceConnDirection = 19 // NFTA_TRACE_CT_DIRECTION
)

// Verdict codes of nf_tables, beside those of netfilter (enum nft_verdicts).
const (
	nftContinue = -1 // NFT_CONTINUE
	nftJump     = -3 // NFT_JUMP
	nftGoto     = -4 // NFT_GOTO
	nftReturn   = -5 // NFT_RETURN
)

// fromTrace is the reason that a step seen by the kernel's trace gives for its verdict.
const fromTrace = "the kernel's trace reports it"

// walk is what is known of a packet that nf_tables traces: the header comes with the first message of each base chain
// only, and the hook by that chain's name.
type walk struct {
	hook   nat.Hook
	tuple  nat.Tuple
	flags  uint8 // header.flags
	in     string
	out    string
	connID uint32
	dir    nat.Direction
}

// maxWalks bounds what is remembered of traced packets: an id that is not needed any more is never announced.
const maxWalks = 1 << 12

// openTrace subscribes to the trace of nf_tables.
func openTrace(buffer int, open opener) (*socket, error) {
	s, err := open(buffer)
	if err != nil {
		return nil, err
	}
	if err := s.join(unix.NFNLGRP_NFTRACE); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe to the nf_tables trace: %w", err), s.close())
	}
	return s, nil
}

// traceMessage is one NFT_MSG_TRACE, undigested.
type traceMessage struct {
	table              string // foreign ones with their family: "inet firewall"
	chain              []byte
	handle             uint64
	kind, policy, id   uint32
	code               int32  // of the verdict
	target             []byte // the chain of a jump or goto
	network, transport []byte
	in, out, mark      uint32
	connID             uint32
	direction          uint8
	hasConn            bool
}

func (m *member) parseTrace(f frame) (t traceMessage) {
	if len(f.body) < genHeader {
		return t
	}
	a := f.attributes()
	for {
		kind, value, more := a.next()
		if !more {
			return t
		}
		switch kind {
		case unix.NFTA_TRACE_TABLE:
			t.table = m.tableOf(f.body[0], text(value))
		case unix.NFTA_TRACE_CHAIN:
			t.chain = text(value)
		case unix.NFTA_TRACE_RULE_HANDLE:
			t.handle = u64(value)
		case unix.NFTA_TRACE_TYPE:
			t.kind = u32(value)
		case unix.NFTA_TRACE_POLICY:
			t.policy = u32(value)
		case unix.NFTA_TRACE_ID:
			t.id = u32(value)
		case unix.NFTA_TRACE_VERDICT:
			t.code, t.target = verdictOfTrace(value)
		case unix.NFTA_TRACE_NETWORK_HEADER:
			t.network = value
		case unix.NFTA_TRACE_TRANSPORT_HEADER:
			t.transport = value
		case unix.NFTA_TRACE_IIF:
			t.in = u32(value)
		case unix.NFTA_TRACE_OIF:
			t.out = u32(value)
		case unix.NFTA_TRACE_MARK:
			t.mark = u32(value)
		case nftaTraceConnID:
			t.connID, t.hasConn = u32(value), true
		case nftaTraceConnDirection:
			if len(value) > 0 {
				t.direction = value[0]
			}
		}
	}
}

func verdictOfTrace(nested []byte) (code int32, chain []byte) {
	a := attributes(nested)
	for {
		kind, value, more := a.next()
		switch {
		case !more:
			return code, chain
		case kind == unix.NFTA_VERDICT_CODE:
			code = int32(u32(value))
		case kind == unix.NFTA_VERDICT_CHAIN:
			chain = text(value)
		}
	}
}

// ruleHit turns a trace message into an observation. The end of a user chain is none.
func (m *member) ruleHit(t traceMessage) (o proof.Observation, ok bool) {
	w := m.walkOf(t)
	o = proof.Observation{
		Kind: proof.RuleHit, Node: m.name, TraceID: t.id, TCPFlags: w.flags, InDev: w.in, OutDev: w.out, ConnID: w.connID, Direction: w.dir,
		Step: nat.Step{Node: m.name, Hook: w.hook, Before: w.tuple, Mark: t.mark, Why: fromTrace},
	}
	s := &o.Step
	switch {
	case t.kind == unix.NFT_TRACETYPE_POLICY:
		s.Table, s.Chain = t.table, string(t.chain)
		s.Verdict = nat.Drop
		if t.policy == nfAccept {
			s.Verdict = nat.Accept
		}
	case t.handle == 0: // the end of a user chain; kernels differ in the type they give it
		return o, false
	default:
		s.Verdict = nftVerdict(t.code)
		m.placeRule(s, t)
	}
	return o, true
}

// nftVerdict reads a verdict code.
func nftVerdict(code int32) nat.Verdict {
	switch code {
	case nftJump:
		return nat.Jump
	case nftGoto:
		return nat.Goto
	case nftReturn:
		return nat.Return
	case nftContinue:
		return nat.Continue
	}
	switch code & nfVerdictMask {
	case nfDrop:
		return nat.Drop
	case nfQueue:
		return nat.Queue
	case nfStolen:
		return nat.Stolen
	}
	return nat.Accept
}

// walkOf brings what is known of the message's packet up to date.
func (m *member) walkOf(t traceMessage) *walk {
	w := m.walks[t.id]
	if w == nil {
		if len(m.walks) >= maxWalks {
			clear(m.walks)
		}
		w = new(walk)
		m.walks[t.id] = w
	}
	if t.network != nil {
		*w = walk{in: m.device(t.in), out: m.device(t.out)}
		w.tuple, w.flags = headerOf(append(append(m.head[:0], t.network...), t.transport...))
	}
	if hook, known := m.hooks[[2]string{t.table, string(t.chain)}]; known {
		w.hook = hook
	}
	if t.hasConn {
		w.connID, w.dir = t.connID, nat.Direction(t.direction)
	}
	return w
}

// unknownRule is the Step.Rule of a rule that was gone before its place could be read.
const unknownRule = -1

// position is where a rule stands.
type position struct {
	table, chain string
	number       int
}

// placeRule names the rule behind a handle. The kernel's own word for a rule is its handle, which tells nothing about its
// place, and is unique within its table only; the places are read again whenever the rules have changed.
func (m *member) placeRule(s *nat.Step, t traceMessage) {
	at, ok := m.places[t.table][t.handle]
	if !ok || at.chain != string(t.chain) {
		s.Table, s.Chain, s.Rule = t.table, string(t.chain), unknownRule
		return
	}
	s.Table, s.Chain, s.Rule = at.table, at.chain, at.number
	if nat.TableHooks(at.table) == nil {
		if m.describeNative(s, string(t.target)) {
			return
		}
		s.Text = fmt.Sprintf("rule %d of the chain %s in the nft table %s", at.number, at.chain, at.table)
	}
	m.describe(s, nftBackend)
}

// refreshPlaces reads the handles of all rules again if the generation of nf_tables is another than the last time.
func (m *member) refreshPlaces() error {
	var now uint32
	err := m.control.request(newMessage(nftGetGen, unix.NLM_F_ACK, unix.AF_UNSPEC, 0), func(kind uint16, body []byte) {
		if kind != nftNewGen || len(body) < genHeader {
			return
		}
		a := attributes(body[genHeader:])
		for {
			kind, value, more := a.next()
			if !more {
				return
			}
			if kind == unix.NFTA_GEN_ID {
				now = u32(value)
			}
		}
	})
	if err != nil || now == m.generation && m.places != nil {
		return err
	}
	m.places, m.generation = map[string]map[uint64]position{}, now
	return errors.Join(m.readPlaces(), m.readHooks())
}
