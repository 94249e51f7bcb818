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

// RestoreNFT makes a table of nf_tables' own as `nft list ruleset` prints it, by nft(8). A refusal is a *RefusedError, and nothing is made then.
func RestoreNFT(ctx context.Context, ns Namespace, table string) error {
	_, stderr, err := run(ctx, ns, "nft", table, "-f", "-")
	var exit *exec.ExitError
	switch {
	case errors.Is(err, ErrUnsupported):
		return fmt.Errorf("nft is not installed: %w: apt-get install nftables", ErrUnsupported)
	case !errors.As(err, &exit) || ctx.Err() != nil:
		return err
	}
	return &RefusedError{Program: "nft -f", Reason: reason(stderr)}
}
