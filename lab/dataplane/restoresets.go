package dataplane

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// RestoreSets makes the ipsets of a text of `ipset save`, by ipset(8). Sets and members that are there already stay. A refusal is a *RefusedError;
// what stands before the line is made then.
func RestoreSets(ctx context.Context, ns Namespace, save string) error {
	_, stderr, err := run(ctx, ns, "ipset", save, "restore", "-exist")
	var exit *exec.ExitError
	switch {
	case errors.Is(err, ErrUnsupported):
		return fmt.Errorf("ipset is not installed: %w: apt-get install ipset", ErrUnsupported)
	case !errors.As(err, &exit) || ctx.Err() != nil:
		return err
	}
	refused := refusal("ipset restore", save, stderr)
	refused.Table = ""
	return refused
}
