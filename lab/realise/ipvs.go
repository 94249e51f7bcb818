package realise

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
)

// IPVS reports what kube-proxy's ipvs mode needs of the kernel and a namespace does not have: the error is errors.ErrUnsupported, and names the modules that the kernel
// neither has nor found when it was asked for them.
func IPVS(h netns.Handle) error {
	var missing []string
	err := h.Do(func() error {
		of := []int{unix.NETLINK_GENERIC, unix.NETLINK_NETFILTER, unix.NETLINK_ROUTE}
		nl, err := netlink.NewHandle(of...)
		if err != nil {
			return fmt.Errorf("netlink for IPVS: %w", err)
		}
		defer nl.Close()
		if _, err := nl.GenlFamilyGet("IPVS"); err != nil { // the kernel loads net-pf-16-proto-16-family-IPVS (genetlink.c: ctrl_getfamily)
			missing = append(missing, "ip_vs")
		}
		if _, _, err := nl.IpsetProtocol(); err != nil {
			missing = append(missing, "ip_set")
		}
		probe := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "natlab-ipvs"}}
		if err := nl.LinkAdd(probe); err != nil {
			missing = append(missing, "dummy")
			return nil
		}
		return nl.LinkDel(probe)
	})
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("this kernel has no %s, which kube-proxy's ipvs mode needs: modprobe ip_vs ip_vs_rr ip_set xt_set dummy, or run natlab on a kernel that has them: natlab vm run -- natlab ...: %w",
			strings.Join(missing, ", no "), errors.ErrUnsupported)
	}
	return err
}
