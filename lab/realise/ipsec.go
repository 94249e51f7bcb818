package realise

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
)

// IPsec are the IPsec policies and states of a namespace, of both families, one line each. A kernel without IPsec has none.
func IPsec(h netns.Handle) (lines []string, err error) {
	err = h.Do(func() error {
		nl, err := netlink.NewHandle(unix.NETLINK_XFRM)
		if errors.Is(err, unix.EPROTONOSUPPORT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("netlink for IPsec: %w", err)
		}
		defer nl.Close()
		lines, err = transformations(nl)
		return err
	})
	return lines, err
}

func transformations(nl *netlink.Handle) (lines []string, err error) {
	policies, err := nl.XfrmPolicyList(netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list IPsec policies: %w", err)
	}
	for _, p := range policies {
		lines = append(lines, fmt.Sprintf("IPsec policy %s from %s to %s", p.Dir, p.Src, p.Dst))
	}
	states, err := nl.XfrmStateList(netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list IPsec states: %w", err)
	}
	for _, s := range states {
		lines = append(lines, fmt.Sprintf("IPsec state %s from %s to %s", s.Proto, s.Src, s.Dst))
	}
	return lines, nil
}
