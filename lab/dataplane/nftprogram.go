package dataplane

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// RunNFT hands a transaction to the nft program inside a namespace: all of it is carried out, or nothing, and the error is a
// *RefusedError.
func RunNFT(ctx context.Context, ns Namespace, transaction string) error {
	_, stderr, err := run(ctx, ns, "nft", transaction, "-f", "-")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || ctx.Err() != nil {
		return asNFT(err)
	}
	return &RefusedError{Program: "nft", Reason: reason(stderr)}
}

// NFTVersion is the nft program's version: "1.0.6".
func NFTVersion(ctx context.Context, ns Namespace) (string, error) {
	out, _, err := run(ctx, ns, "nft", "", "--version")
	if err != nil {
		return "", asNFT(err)
	}
	words := strings.Fields(out)
	if len(words) < 2 || words[0] != "nftables" {
		return "", fmt.Errorf("nft --version: %q: not nft's", strings.TrimSpace(out))
	}
	return strings.TrimPrefix(words[1], "v"), nil
}

// ListNFT is what `nft -a list ruleset` prints inside a namespace of the tables of a family, as nft calls it: "ip", "ip6", "inet".
func ListNFT(ctx context.Context, ns Namespace, family string) (string, error) {
	out, stderr, err := run(ctx, ns, "nft", "", "-a", "list", "ruleset", family)
	if err != nil && stderr != "" {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr))
	}
	return out, asNFT(err)
}

// asNFT names the right package where nft is not there.
func asNFT(err error) error {
	if errors.Is(err, ErrUnsupported) {
		return fmt.Errorf("nft is not installed, and kube-proxy's nftables mode is programmed by it: %w: apt-get install nftables", ErrUnsupported)
	}
	return err
}
