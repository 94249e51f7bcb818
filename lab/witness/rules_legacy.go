package witness

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"natlab/lab/sysctl"
	"natlab/nat"
	"natlab/nat/proof"
)

// Attributes and flags of linux/netfilter/nfnetlink_log.h.
const (
	nfulaPacketHeader = 1  // NFULA_PACKET_HDR
	nfulaMark         = 2  // NFULA_MARK
	nfulaInDev        = 4  // NFULA_IFINDEX_INDEV
	nfulaOutDev       = 5  // NFULA_IFINDEX_OUTDEV
	nfulaPayload      = 9  // NFULA_PAYLOAD
	nfulaPrefix       = 10 // NFULA_PREFIX
	nfulaSeq          = 12 // NFULA_SEQ
	nfulaConn         = 18 // NFULA_CT
	nfulaConnInfo     = 19 // NFULA_CT_INFO

	nfulaCfgCommand   = 1 // NFULA_CFG_CMD
	nfulaCfgMode      = 2 // NFULA_CFG_MODE
	nfulaCfgThreshold = 5 // NFULA_CFG_QTHRESH
	nfulaCfgFlags     = 6 // NFULA_CFG_FLAGS

	logBind       = 1      // NFULNL_CFG_CMD_BIND
	logCopyPacket = 2      // NFULNL_COPY_PACKET
	logWithSeq    = 1 << 0 // NFULNL_CFG_F_SEQ
	logWithConn   = 1 << 2 // NFULNL_CFG_F_CONNTRACK

	logCopy = 192 // bytes of each packet: enough for its headers, also those of IPv6 in VXLAN about another
)

// traceGroup is the NFLOG group where nf_log_trace sends.
const traceGroup = 0

// openLog opens NFLOG groups.
func openLog(buffer int, groups []uint16) (*socket, error) {
	s, err := openSocket(buffer)
	if err != nil {
		return nil, err
	}
	for _, group := range groups {
		if err := bindLog(s, group); err != nil {
			return nil, errors.Join(fmt.Errorf("open NFLOG group %d: %w", group, busy(err)), s.close())
		}
	}
	return s, nil
}

func bindLog(s *socket, group uint16) error {
	mode := append(binary.BigEndian.AppendUint32(nil, logCopy), logCopyPacket, 0)
	bind := newMessage(logConfig, unix.NLM_F_ACK, unix.AF_INET, group).
		bytes(nfulaCfgCommand, []byte{logBind}).
		bytes(nfulaCfgMode, mode).
		u32(nfulaCfgThreshold, 1) // the kernel must not collect messages: Drain could not see them
	if err := s.request(bind, nil); err != nil {
		return err
	}
	flags := func(f uint16) error {
		return s.request(newMessage(logConfig, unix.NLM_F_ACK, unix.AF_INET, group).u16(nfulaCfgFlags, f), nil)
	}
	err := flags(logWithSeq | logWithConn)
	if errors.Is(err, unix.EOPNOTSUPP) { // no CONFIG_NETFILTER_NETLINK_GLUE_CT
		err = flags(logWithSeq)
	}
	return err
}

// loggers are the settings of who gets a namespace's log messages of each family, by its number (nf_log).
const loggers = "net/netfilter/nf_log/"

// ourLogger is whom natlab wants.
const ourLogger = "nfnetlink_log"

// useLogger sends this thread's namespace's log messages of a family to whom name calls, and returns where they went before.
func useLogger(f nat.Family, name string) (before string, err error) {
	number := strconv.Itoa(int(layoutOf(f).number))
	b, err := os.ReadFile("/proc/sys/" + loggers + number)
	if err != nil {
		return "", err
	}
	before = strings.TrimSpace(string(b))
	if before == name {
		return before, nil
	}
	if err := sysctl.Write(loggers+number, name+"\n"); err != nil {
		return "", fmt.Errorf("net.netfilter.nf_log.%s = %s: %w", number, name, err)
	}
	return before, nil
}

// logMessage is one NFULNL_MSG_PACKET, undigested.
type logMessage struct {
	hook     nat.Hook
	mark     uint32
	in, out  string
	payload  []byte
	prefix   []byte
	connID   uint32
	connInfo uint32
}

func (m *member) parseLog(f frame) (l logMessage) {
	a := f.attributes()
	for {
		kind, value, more := a.next()
		if !more {
			return l
		}
		switch kind {
		case nfulaPacketHeader:
			if len(value) > 2 {
				l.hook = nat.Hook(value[2])
			}
		case nfulaMark:
			l.mark = u32(value)
		case nfulaInDev:
			l.in = m.device(u32(value))
		case nfulaOutDev:
			l.out = m.device(u32(value))
		case nfulaPayload:
			l.payload = value
		case nfulaPrefix:
			l.prefix = text(value)
		case nfulaSeq:
			m.countLog(f.resource(), u32(value))
		case nfulaConn:
			l.connID = connID(value)
		case nfulaConnInfo:
			l.connInfo = u32(value)
		}
	}
}

// logHit turns an NFLOG message of a legacy table's TRACE into an observation, and one of a tap into the packet. The end
// of a user chain is no hit.
func (m *member) logHit(f frame) (o proof.Observation, ok bool) {
	l := m.parseLog(f)
	o = proof.Observation{Node: m.name, ConnID: l.connID, Direction: directionOf(l.connInfo)}
	if tap := int(f.resource()) - 1; tap >= 0 {
		if tap >= len(nat.Taps()) {
			return o, false
		}
		o.Kind = proof.PacketSeen
		h := parseHeader(l.payload)
		o.Hop = nat.Hop{Node: m.name, Tap: nat.Tap(tap), Dev: cmp.Or(l.out, l.in), Tuple: h.tuple, Outer: h.outer, Mark: l.mark}
		o.TCPFlags, o.ICMP = h.flags, h.icmp
		m.kept(&o, l.payload)
		return o, true
	}
	o.Kind, o.InDev, o.OutDev = proof.RuleHit, l.in, l.out
	o.Step = nat.Step{Node: m.name, Hook: l.hook, Mark: l.mark, Why: fromTrace}
	o.Step.Before, o.TCPFlags = headerOf(l.payload)
	return o, m.placeLog(&o.Step, l.prefix)
}

// countLog watches a group's sequence numbers, which start at 0, for gaps.
func (m *member) countLog(group uint16, seq uint32) {
	m.logLost += uint64(seq - m.logNext[group])
	m.logNext[group] = seq + 1
}

// placeLog puts in what the prefix of a TRACE's message tells of the rule. Few prefixes come again and again, so each is read once.
func (m *member) placeLog(s *nat.Step, prefix []byte) bool {
	at, known := m.prefixes[string(prefix)]
	if !known {
		at = m.readPrefix(prefix)
		m.prefixes[string(prefix)] = at
	}
	if at == nil {
		return false
	}
	s.Table, s.Chain, s.Rule, s.Met, s.Verdict = at.Table, at.Chain, at.Rule, at.Met, at.Verdict
	s.Mark = s.Mark&^at.clears ^ at.turns
	return true
}

// legacyRule is what a prefix tells: the step without the packet, and what the rule does to the mark.
type legacyRule struct {
	nat.Step
	clears, turns uint32
}

// readPrefix reads "TRACE: nat:KUBE-SVC-X:rule:2 "; nil for what is none, and for the end of a user chain. The kernel calls a rule without matches whose target is a verdict
// "policy" or "return" too (get_chainname_rulenum), so only its number tells it from the chain's end. It writes before
// the rule's target runs: what that does to mark and packet is looked up in the rules.
func (m *member) readPrefix(prefix []byte) *legacyRule {
	rest, ok := bytes.CutPrefix(prefix, []byte("TRACE: "))
	if !ok {
		return nil // somebody's NFLOG target
	}
	part := bytes.Split(bytes.TrimSpace(rest), []byte(":"))
	if len(part) < 4 {
		return nil
	}
	n := len(part) // a chain's name may hold colons
	number, err := strconv.Atoi(string(part[n-1]))
	if err != nil {
		return nil
	}
	at := &legacyRule{Step: nat.Step{Table: string(part[0]), Chain: string(bytes.Join(part[1:n-2], []byte(":"))), Rule: number}}
	comment := string(part[n-2])
	chain := m.rules[legacyBackend].chain(at.Table, at.Chain)
	if comment == "rule" || chain != nil && number <= len(chain.Rules) {
		at.clears, at.turns = m.describe(&at.Step, legacyBackend)
		return at
	}
	if comment == "return" {
		return nil
	}
	at.Rule, at.Verdict = 0, nat.Accept
	if chain != nil && chain.Policy == "DROP" {
		at.Verdict = nat.Drop
	}
	return at
}
