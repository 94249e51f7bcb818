package test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/nat/iptables"
)

// tracer reads the kernel's trace of rules, of both backends: nf_tables' own messages, and what x_tables logs.
type tracer struct {
	fd     int
	buf    []byte
	places map[string]map[uint64]string // nf_tables: table, handle: "chain:number"
	rules  map[string]int               // x_tables: "table:chain": the number of its rules
	native bool                         // tables are told apart by family: "ip filter"
}

// newTracer subscribes, in the namespace of this thread.
func newTracer() (*tracer, error) {
	fd, err := openNetfilter()
	if err != nil {
		return nil, err
	}
	t := &tracer{fd: fd, buf: make([]byte, 1<<17)}
	return t, errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTRACE),
		os.WriteFile("/proc/sys/net/netfilter/nf_log/2", []byte("nfnetlink_log\n"), 0),
		os.WriteFile("/proc/sys/net/netfilter/nf_log/10", []byte("nfnetlink_log\n"), 0),
		t.bindLog(),
	)
}

// bindLog asks for NFLOG group 0, message by message and without the packets.
func (t *tracer) bindLog() error {
	const config = unix.NFNL_SUBSYS_ULOG<<8 | 1 // NFULNL_MSG_CONFIG
	for _, a := range [][]byte{
		attribute(1, []byte{1}),                // NFULA_CFG_CMD: bind
		attribute(2, []byte{0, 0, 0, 0, 1, 0}), // NFULA_CFG_MODE: metadata alone
		attribute(5, []byte{0, 0, 0, 1}),       // NFULA_CFG_QTHRESH: 1
	} {
		if err := sendNetfilter(t.fd, nat.IPv4, config, unix.NLM_F_ACK, a); err != nil {
			return err
		}
		n, _, err := unix.Recvfrom(t.fd, t.buf, 0)
		if err != nil {
			return err
		}
		if n < 20 {
			return errors.New("NFLOG: a short answer")
		}
		if code := int32(binary.NativeEndian.Uint32(t.buf[16:])); code != 0 {
			return fmt.Errorf("NFLOG: %w", unix.Errno(-code))
		}
	}
	return nil
}

func (t *tracer) close() { _ = unix.Close(t.fd) }

// traceAll takes all of nf_tables' rules away and makes every packet of the namespace be traced from where it enters.
func traceAll(family nat.Family) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.FlushRuleset()
	table := c.AddTable(&nftables.Table{Name: "natlab", Family: tableFamily(family)})
	for _, hook := range []nat.Hook{nat.PreRouting, nat.Output} {
		chain := c.AddChain(&nftables.Chain{
			Name: hook.String(), Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: new(nftables.ChainHook(hook)), Priority: new(nftables.ChainPriority(-310)),
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Immediate{Register: 1, Data: []byte{1}},
			&expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: 1},
		}})
	}
	return c.Flush()
}

func tableFamily(f nat.Family) nftables.TableFamily {
	if f == nat.IPv6 {
		return nftables.TableFamilyIPv6
	}
	return nftables.TableFamilyIPv4
}

// learn reads which rule has which handle, and counts each chain's rules.
func (t *tracer) learn(rs iptables.Ruleset) error {
	t.places, t.rules = map[string]map[uint64]string{}, map[string]int{}
	for _, table := range rs.Tables {
		for _, chain := range table.Chains {
			t.rules[table.Name+":"+chain.Name] = len(chain.Rules)
		}
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	chains, err := c.ListChainsOfTableFamily(tableFamily(rs.Family))
	if err != nil {
		return err
	}
	for _, chain := range chains {
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return err
		}
		if t.places[chain.Table.Name] == nil {
			t.places[chain.Table.Name] = map[uint64]string{}
		}
		for i, r := range rules {
			t.places[chain.Table.Name][r.Handle] = fmt.Sprintf("%s:%d", chain.Name, i+1)
		}
	}
	return nil
}

// read returns the rules that packets met since the last call: "nat PREROUTING:1 jump mark 0x0".
func (t *tracer) read() (steps []string, err error) {
	for {
		n, _, err := unix.Recvfrom(t.fd, t.buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			return steps, nil
		}
		if err != nil {
			return steps, err
		}
		for b := t.buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			length := int(binary.NativeEndian.Uint32(b))
			if length < unix.NLMSG_HDRLEN || length > len(b) {
				break
			}
			if step, ok := t.step(binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:length]); ok {
				steps = append(steps, step)
			}
			b = b[min(len(b), (length+3)&^3):]
		}
	}
}

// attributes calls f for each netlink attribute.
func attributes(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= 4 {
		length := int(binary.NativeEndian.Uint16(b))
		if length < 4 || length > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&0x3fff, b[4:length])
		b = b[min(len(b), (length+3)&^3):]
	}
}

// nativeFamilies are the families of tables that packets of IP meet, as nft writes them.
var nativeFamilies = map[byte]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"}

func (t *tracer) step(kind uint16, body []byte) (string, bool) {
	if kind == unix.NFNL_SUBSYS_ULOG<<8 { // NFULNL_MSG_PACKET
		return t.logged(body)
	}
	if kind != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_TRACE || len(body) < 4 {
		return "", false
	}
	var table, chain string
	var handle uint64
	var what, policy, mark uint32
	var code int32
	attributes(body[4:], func(kind uint16, v []byte) {
		switch kind {
		case unix.NFTA_TRACE_TABLE:
			table = string(bytes.TrimRight(v, "\x00"))
		case unix.NFTA_TRACE_CHAIN:
			chain = string(bytes.TrimRight(v, "\x00"))
		case unix.NFTA_TRACE_RULE_HANDLE:
			handle = binary.BigEndian.Uint64(v)
		case unix.NFTA_TRACE_TYPE:
			what = binary.BigEndian.Uint32(v)
		case unix.NFTA_TRACE_POLICY:
			policy = binary.BigEndian.Uint32(v)
		case unix.NFTA_TRACE_MARK:
			mark = binary.BigEndian.Uint32(v)
		case unix.NFTA_TRACE_VERDICT:
			attributes(v, func(kind uint16, v []byte) {
				if kind == unix.NFTA_VERDICT_CODE {
					code = int32(binary.BigEndian.Uint32(v))
				}
			})
		}
	})
	if t.native && table != "natlab" {
		table = nativeFamilies[body[0]] + " " + table
	}
	switch {
	case table == "natlab":
		return "", false
	case what == unix.NFT_TRACETYPE_POLICY:
		return stepLine(table, chain+":0", policyVerdict(policy), mark), true
	case handle == 0: // the end of a user chain
		return "", false
	}
	return stepLine(table, t.places[table][handle], verdictWord(code), mark), true
}

// logged reads an x_tables trace, "TRACE: nat:PREROUTING:rule:2 ", as "nat PREROUTING:2". The kernel calls a rule
// without matches "policy" or "return" too where its target is a verdict; only its number tells it from the chain's end.
func (t *tracer) logged(body []byte) (step string, ok bool) {
	attributes(body[min(4, len(body)):], func(kind uint16, v []byte) {
		if kind != 10 { // NFULA_PREFIX
			return
		}
		text := strings.TrimSpace(strings.TrimRight(string(v), "\x00"))
		part := strings.Split(strings.TrimPrefix(text, "TRACE: "), ":")
		if len(part) != 4 {
			return
		}
		number, err := strconv.Atoi(part[3])
		switch {
		case err != nil:
		case part[2] == "rule" || number <= t.rules[part[0]+":"+part[1]]:
			step, ok = fmt.Sprintf("%s %s:%d", part[0], part[1], number), true
		case part[2] == "policy":
			step, ok = fmt.Sprintf("%s %s:0", part[0], part[1]), true
		}
	})
	return step, ok
}

func stepLine(table, place, verdict string, mark uint32) string {
	return fmt.Sprintf("%s %s %s mark %#x", table, place, verdict, mark)
}

func policyVerdict(policy uint32) string {
	if policy == 1 {
		return nat.Accept.String()
	}
	return nat.Drop.String()
}

// verdictWord is the word for an nf_tables verdict. What x_tables targets do beyond it is not the trace's to say: REJECT
// is a drop to it.
func verdictWord(code int32) string {
	switch code {
	case -1:
		return nat.Continue.String()
	case -3:
		return nat.Jump.String()
	case -4:
		return nat.Goto.String()
	case -5:
		return nat.Return.String()
	}
	switch code & 0xff {
	case 0:
		return nat.Drop.String()
	case 3:
		return nat.Queue.String()
	}
	return nat.Accept.String()
}

// sameSteps compares a trace with the tracer's words. x_tables tells of a rule before its target runs, so that only the
// path is compared. nf_tables tells of a REJECT rule after its answer has left, so that where one was met the order is
// not compared; nor is it where anyOrder says so.
func (w *twins) sameSteps(trace nat.Trace, kernel []string, anyOrder bool) (emulator string, same bool) {
	var steps []string
	for _, s := range trace {
		place := s.Chain + ":" + strconv.Itoa(s.Rule)
		anyOrder = anyOrder || strings.Contains(s.Text, "-j TEE")          // what the copy meets comes in between
		if w.backend == dataplane.Legacy && s.Why == iptables.WhyHotdrop { // x_tables does not trace it
			continue
		}
		if w.backend == dataplane.Legacy {
			steps = append(steps, s.Table+" "+place)
			continue
		}
		v := s.Verdict
		if v == nat.Reject {
			anyOrder, v = true, nat.Drop
		}
		if v == nat.Accept && strings.Contains(s.Text, "-j NFQUEUE") { // which nobody listens on
			v = nat.Queue
		}
		steps = append(steps, stepLine(s.Table, place, v.String(), s.Mark))
	}
	emulator = strings.Join(steps, "\n")
	if anyOrder {
		kernel = slices.Clone(kernel)
		slices.Sort(steps)
		slices.Sort(kernel)
	}
	return emulator, slices.Equal(steps, kernel)
}
