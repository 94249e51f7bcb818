package verify

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"natlab/lab/netns"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

// enoughResent is how often TCP has to have sent data or a FIN again before an attempt whose connection was made counts as lost. Its
// kernels acknowledge what they get at once, whatever their processes do.
const enoughResent = 2

// resent tells of the servers' sockets; it asks each namespace once.
type resent struct {
	*driver
	sockets map[string]map[traffic.Ends]int // by member
	err     error
}

// enough reports whether the client or the server of an attempt sent enough again.
func (r *resent) enough(t *attempt, s proof.Seen) bool {
	if t.conn.Resent() >= enoughResent {
		return true
	}
	ends := []traffic.Ends{{Local: t.probe.Tuple.Dst(), Peer: t.probe.Tuple.Src()}}
	for _, c := range s.Conns {
		ends = append(ends, traffic.Ends{Local: c.Reply.Src(), Peer: c.Reply.Dst()})
	}
	for _, server := range r.servers {
		for _, e := range ends {
			if e.Local == server.Addr && r.of(server.Member)[e] >= enoughResent {
				return true
			}
		}
	}
	return false
}

// of are the sockets of a member that sent again.
func (r *resent) of(member string) map[traffic.Ends]int {
	if sockets, known := r.sockets[member]; known {
		return sockets
	}
	sockets, err := traffic.Resent(r.handles[member])
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %w", member, err)
	}
	if r.sockets == nil {
		r.sockets = map[string]map[traffic.Ends]int{}
	}
	r.sockets[member] = sockets
	return sockets
}

// segmentsResent reads how many TCP segments each watched member's kernel has sent again since its namespace was made, SYNs and those of
// sockets without a process among them.
func (d *driver) segmentsResent() (map[string]uint64, error) {
	out := map[string]uint64{}
	for _, member := range d.members {
		n, err := retransSegs(d.handles[member])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", member, err)
		}
		out[member] = n
	}
	return out, nil
}

// retransSegs is RetransSegs (RFC 4022) without the probes that TCP sends where the last segment's acknowledgement is a little late
// (RFC 8985, 7.2), which a machine with much to do makes it do: of these, those count that repaired a loss.
func retransSegs(h netns.Handle) (n uint64, err error) {
	err = h.Do(func() error {
		var counters [3]uint64
		for i, c := range []struct{ file, group, name string }{
			{"snmp", "Tcp:", "RetransSegs"}, {"netstat", "TcpExt:", "TCPLossProbes"}, {"netstat", "TcpExt:", "TCPLossProbeRecovery"},
		} {
			b, err := os.ReadFile("/proc/thread-self/net/" + c.file)
			if err != nil {
				return err
			}
			if counters[i], err = netCounter(b, c.group, c.name); err != nil {
				return fmt.Errorf("net/%s: %w", c.file, err)
			}
		}
		n = counters[0] - min(counters[0], counters[1]) + counters[2]
		return nil
	})
	return n, err
}

// netCounter finds a counter in a table of two lines, its names and its numbers.
func netCounter(table []byte, group, name string) (uint64, error) {
	var names []string
	for line := range bytes.Lines(table) {
		f := strings.Fields(string(line))
		switch {
		case len(f) == 0 || f[0] != group:
		case names == nil:
			names = f
		default:
			if at := slices.Index(names, name); at >= 0 && at < len(f) {
				return strconv.ParseUint(f[at], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("there is no counter %s %s", group, name)
}

// resentNote tells who sent how many segments again; nil where nobody did.
func resentNote(before, after map[string]uint64) []string {
	type sender struct {
		member string
		n      uint64
	}
	var all []sender
	sum := uint64(0)
	for member, n := range after {
		if n > before[member] {
			all, sum = append(all, sender{member, n - before[member]}), sum+n-before[member]
		}
	}
	if sum == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b sender) int {
		if a.n != b.n {
			return int(b.n) - int(a.n)
		}
		return strings.Compare(a.member, b.member)
	})
	var words []string
	for i, s := range all {
		if i == maxSenders {
			words = append(words, fmt.Sprintf("and %d more", len(all)-i))
			break
		}
		words = append(words, fmt.Sprintf("%s %d", s.member, s.n))
	}
	packets := "1 packet"
	if sum > 1 {
		packets = fmt.Sprintf("%d packets", sum)
	}
	return []string{"TCP sent " + packets + " again, of which the first was lost or late: " + strings.Join(words, ", ")}
}

// maxSenders is how many senders a note names.
const maxSenders = 5

// exchangeSize is the size of a request that no device of the lab carries in one packet.
func exchangeSize(p topology.Plan) int {
	const more = 200
	longest := defaultMTU
	for _, ns := range p.Namespaces {
		for _, d := range ns.Devices {
			longest = max(longest, d.MTU)
		}
	}
	return min(longest+more, traffic.MaxSize)
}

// defaultMTU is a veth's where nobody sets one (ETH_DATA_LEN).
const defaultMTU = 1500

// wholeSize is a request that every link of IPv6 carries in one packet (RFC 8200, 5).
const wholeSize = 1000

// sizeOf is the size of an attempt's request. A node whose NAT is not its kernel's sends no datagrams of IPv6 in pieces: a queue gives the kernel one
// packet back, which it cuts by the route of the translated address, and what was learned of the path it knows by the one that was asked (ip6_fragment).
func (d *driver) sizeOf(t *attempt) int {
	if d.wired[t.probe.From] && t.probe.Tuple.Proto() == nat.UDP && nat.FamilyOf(t.probe.Tuple.Dst().Addr()) == nat.IPv6 {
		return min(wholeSize, d.size)
	}
	return d.size
}
