package realise

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
)

// ReadSets is the ipsets of a namespace as `ipset save` prints them, as far as their members are addresses and networks; a
// set of another type is named without members. A kernel without ipsets has none.
func ReadSets(h netns.Handle) (save string, err error) {
	var b strings.Builder
	err = h.Do(func() error {
		nl, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			return fmt.Errorf("nfnetlink: %w", err)
		}
		defer nl.Close()
		sets, err := nl.IpsetListAll()
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list ipsets: %w", err)
		}
		for _, s := range sets {
			fmt.Fprintf(&b, "create %s %s\n", s.SetName, s.TypeName)
			for _, e := range s.Entries {
				if a, ok := netip.AddrFromSlice(e.IP); ok && (s.TypeName == "hash:ip" || s.TypeName == "hash:net") {
					p := netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
					if e.CIDR != 0 {
						p = netip.PrefixFrom(a.Unmap(), int(e.CIDR))
					}
					fmt.Fprintf(&b, "add %s %s\n", s.SetName, p)
				}
			}
		}
		return nil
	})
	return b.String(), err
}
