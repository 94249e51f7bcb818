package witness

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"natlab/nat"
)

// sampledEach is how long a tap passes over the datagrams of a flow after it has copied one: what a node forwards in bulk is neither
// copied nor traced packet by packet.
const sampledEach = time.Second

// mostSampled is how many flows of datagrams a tap copies at most in that time.
const mostSampled = 1 << 16

// copying takes a copy of each packet, by NFLOG, and of datagrams one of each flow and sampledEach: of what is in a tunnel, and of what comes
// out of it, each.
func copying(l layout) feed {
	return func(c *nftables.Conn, chain *nftables.Chain, tap nat.Tap) error {
		add := func(exprs ...[]expr.Any) {
			c.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: slices.Concat(exprs...)})
		}
		take := append(tracing(tap), logging(tap), &expr.Verdict{Kind: expr.VerdictAccept})
		for i, in := range l.tunnels() {
			seen := &nftables.Set{
				Table: chain.Table, Name: fmt.Sprintf("%s-seen-%d", tap, i), KeyType: l.sampleKey(), Concatenation: true, Dynamic: true, HasTimeout: true, Size: mostSampled,
			}
			if err := c.AddSet(seen, nil); err != nil {
				return err
			}
			udp := slices.Concat(in.match, l.proto(in.at, unix.IPPROTO_UDP))
			if in.match == nil {
				udp = append(udp, field(expr.PayloadBaseTransportHeader, 2, expr.CmpOpNeq, vxlanPorts)...)
			}
			udp = append(udp, l.sampled(in.at)...)
			known := &expr.Lookup{SourceRegister: keyRegister, SetName: seen.Name, SetID: seen.ID}
			remember := &expr.Dynset{SrcRegKey: keyRegister, SetName: seen.Name, SetID: seen.ID, Operation: unix.NFT_DYNSET_OP_ADD, Timeout: sampledEach}
			add(udp, []expr.Any{known, &expr.Verdict{Kind: expr.VerdictAccept}})
			add(udp, []expr.Any{remember}, take)
		}
		add(take)
		return nil
	}
}

// sampleKey is what tells a flow of datagrams from another: both addresses and both ports, as they stand in the packet.
func (l layout) sampleKey() nftables.SetDatatype {
	address := nftables.TypeIPAddr
	if l.number == unix.NFPROTO_IPV6 {
		address = nftables.TypeIP6Addr
	}
	return nftables.MustConcatSetType(address, address, nftables.TypeInetService, nftables.TypeInetService)
}

// keyRegister is where sampled puts a key: the first of the registers of four bytes, which a key fills one after the other.
const keyRegister = unix.NFT_REG32_00

// sampled loads the key of the packet whose IP header starts at an offset from the network header.
func (l layout) sampled(at uint32) []expr.Any {
	addresses, length := uint32(12), uint32(4)
	if l.number == unix.NFPROTO_IPV6 {
		addresses, length = 8, 16
	}
	load := func(register, offset, length uint32) expr.Any {
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: at + offset, Len: length}
	}
	second, third := keyRegister+length/4, keyRegister+length/2
	return []expr.Any{
		load(keyRegister, addresses, length), load(second, addresses+length, length), load(third, l.header, 2), load(third+1, l.header+2, 2),
	}
}

// Pending names the members of which something waits to be read, in the order of Start: whatever the kernel has queued before this call.
// It is of use with Options.Copies alone: what the kernel reports of a legacy table's rule is read by the rules that SetRules told of last.
func (s *Session) Pending() ([]string, error) {
	var sockets []unix.PollFd
	var of []*member
	waits := map[*member]bool{}
	for _, m := range s.members {
		waits[m] = m.plane != nil // which nobody can see from outside
		for _, k := range m.sockets() {
			sockets, of = append(sockets, unix.PollFd{Fd: int32(k.fd), Events: unix.POLLIN}), append(of, m) // #nosec G115 -- a descriptor
		}
	}
	for {
		_, err := unix.Poll(sockets, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("poll the witnesses' sockets: %w", err)
		}
		break
	}
	for i, p := range sockets {
		waits[of[i]] = waits[of[i]] || p.Revents != 0
	}
	var out []string
	for _, m := range s.members {
		if waits[m] {
			out = append(out, m.name)
		}
	}
	return out, nil
}

// reader is what is called when a socket of the member may have something.
func (m *member) reader(o Options) func() {
	if o.Copies {
		return m.wake
	}
	return m.pump
}
