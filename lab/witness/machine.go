package witness

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Machine counts the packets that the kernel dropped, in whatever namespace, for want of what all namespaces of a machine share.
type Machine struct {
	Backlog    uint64 // a CPU's backlog was full (net.core.netdev_max_backlog)
	Neighbours uint64 // there was no room for a neighbour (net.ipv4.neigh.default.gc_thresh3, and of IPv6)
}

// Sub is what was counted since.
func (m Machine) Sub(before Machine) Machine {
	return Machine{m.Backlog - before.Backlog, m.Neighbours - before.Neighbours}
}

// Machine reads the counters of the machine that the session is on.
func (s *Session) Machine() (Machine, error) {
	b, err := os.ReadFile(softnetFile)
	if err != nil {
		return Machine{}, err
	}
	full, err := fullTables()
	if err != nil {
		return Machine{}, fmt.Errorf("read the statistics of the neighbour tables: %w", err)
	}
	dropped, _ := column(b, droppedColumn)
	return Machine{Backlog: dropped, Neighbours: full}, nil
}

// What the kernel tells of a neighbour table (include/uapi/linux/neighbour.h): its statistics are of all namespaces (neightbl_fill_info).
const (
	ndtaStats       = 7
	ndtFullsAt      = 80 // ndts_table_fulls in struct ndt_stats, the eleventh of its counters
	sizeofNDTMsg    = 4  // struct ndtmsg
	sizeofRtGenMsg  = 4  // struct rtgenmsg, padded
	counterBytes    = 8
	ndtStatsAtLeast = ndtFullsAt + counterBytes
)

// fullTables is how often a neighbour table had no room.
func fullTables() (sum uint64, err error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGHTBL, unix.NLM_F_DUMP)
	req.AddRawData(make([]byte, sizeofRtGenMsg))
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGHTBL)
	if err != nil {
		return 0, err
	}
	for _, m := range msgs {
		if len(m) < sizeofNDTMsg {
			continue
		}
		attrs, err := nl.ParseRouteAttr(m[sizeofNDTMsg:])
		if err != nil {
			return 0, err
		}
		for _, a := range attrs {
			if a.Attr.Type == ndtaStats && len(a.Value) >= ndtStatsAtLeast {
				sum += binary.NativeEndian.Uint64(a.Value[ndtFullsAt:])
			}
		}
	}
	return sum, nil
}
