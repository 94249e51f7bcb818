// Package doctor tries out what the machine offers: every kernel feature and program that natlab has a use for, each in
// a namespace of its own making. It knows nothing of labs, and changes nothing that stays.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/lab/witness"
)

// Answer is what a probe found out. The zero value claims nothing.
type Answer uint8

// The answers.
const (
	CannotTell Answer = iota
	Yes
	No
)

var answerNames = [...]string{"cannot tell", "yes", "no"}

func (a Answer) String() string {
	if int(a) < len(answerNames) {
		return answerNames[a]
	}
	return fmt.Sprintf("answer(%d)", uint8(a))
}

// MarshalText makes an answer its name in JSON.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (a *Answer) UnmarshalText(b []byte) error {
	for i, name := range answerNames {
		if name == string(b) {
			*a = Answer(i)
			return nil
		}
	}
	return fmt.Errorf("answer %q: want yes, no or cannot tell", b)
}

// Feature is one thing that this machine offers or not.
type Feature struct {
	Name    string `json:"name"`
	For     string `json:"for"`               // what natlab does with it
	Have    Answer `json:"have"`              //
	Needed  bool   `json:"needed"`            // no lab comes up without it
	Detail  string `json:"detail,omitempty"`  // a version, or why not
	Instead string `json:"instead,omitempty"` // what natlab does where it is missing
	Remedy  string `json:"remedy,omitempty"`  // how to get it; "" where it is there
}

// Examine asks this machine what it offers. Every probe runs in a namespace of its own making, which is gone when Examine
// returns; nothing else is touched. The order is always the same.
func Examine(ctx context.Context) []Feature {
	ns, undo, err := throwaway()
	if err == nil {
		defer undo()
	}
	return examineIn(ctx, ns, err)
}

// examineIn runs the probes in ns; noNS is why there is none.
func examineIn(ctx context.Context, ns *netns.Handle, noNS error) []Feature {
	root := probe{feature: Feature{
		Name: "root", For: "network namespaces, links, rules", Needed: true, Remedy: "run natlab with sudo, or as natlab --rootless; in a container with --cap-add NET_ADMIN, NET_RAW and SYS_ADMIN",
	}}
	out := []Feature{root.settle("a network namespace can be made", noNS)}
	for _, p := range probes() {
		switch err := ctx.Err(); {
		case err != nil:
			out = append(out, p.settle("", err))
		case noNS != nil && !p.rootless:
			out = append(out, p.settle("", errors.New("needs root to be tried")))
		default:
			out = append(out, p.settle(p.try(ctx, ns)))
		}
	}
	return out
}

// probe is how one feature is found out.
type probe struct {
	feature  Feature // without Have and Detail
	rootless bool    // ns may be nil
	// try uses the feature in a namespace of nobody else's; the detail is for a reader, the error decides.
	try func(ctx context.Context, ns *netns.Handle) (detail string, err error)
}

// settle turns what a probe gave into its Feature.
func (p probe) settle(detail string, err error) Feature {
	f := p.feature
	f.Detail = detail
	switch {
	case err == nil:
		f.Have, f.Instead, f.Remedy = Yes, "", ""
	case isMissing(err):
		f.Have, f.Detail = No, err.Error()
	default:
		f.Have, f.Detail = CannotTell, err.Error()
	}
	return f
}

// isMissing reports whether an error means that the feature is not there, rather than that asking went wrong.
func isMissing(err error) bool {
	for _, missing := range []error{
		errors.ErrUnsupported, dataplane.ErrUnsupported, witness.ErrUnsupported, fs.ErrNotExist, fs.ErrPermission,
		unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.ENODEV, unix.ENOPROTOOPT, unix.ESOCKTNOSUPPORT,
	} {
		if errors.Is(err, missing) {
			return true
		}
	}
	var refused *dataplane.RefusedError
	return errors.As(err, &refused)
}

func throwawayPrefix() string { return fmt.Sprintf("natlab-doctor-%d-", os.Getpid()) }

// throwaways is how many namespaces this process made.
var throwaways atomic.Int64

// throwaway makes a namespace for the probes, with lo up. Several may be there at once.
func throwaway() (*netns.Handle, func(), error) {
	name := fmt.Sprintf("%s%d", throwawayPrefix(), throwaways.Add(1))
	h, err := netns.Create(name)
	if err != nil {
		return nil, nil, err
	}
	return &h, func() {
		// A namespace that cannot be taken away is of no use to the caller: the features are.
		_ = h.Close()
		_ = netns.Delete(name)
	}, nil
}
