package connect

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// hostList is a set of "host" and "host:port", in lower case and without a trailing dot.
type hostList map[string]bool

func newHostList(hosts []string) hostList {
	list := hostList{}
	for _, h := range hosts {
		if host, port, err := net.SplitHostPort(h); err == nil {
			list[net.JoinHostPort(plainHost(host), port)] = true
		} else if host := plainHost(h); host != "" {
			list[host] = true
		}
	}
	return list
}

func (l hostList) judge(u *url.URL) error {
	if err := CheckHost(u); err != nil {
		return err
	}
	host := plainHost(u.Hostname())
	if l[host] || l[net.JoinHostPort(host, portOf(u))] {
		return nil
	}
	return fmt.Errorf("%w: %s is not among the allowed hosts", ErrHostRefused, u.Host)
}

// CheckHost refuses an address whose host no client may reach, whatever it is allowed: a metadata server, by name or address, or
// another link-local, multicast or unspecified address. The error wraps ErrHostRefused. No name is resolved.
func CheckHost(u *url.URL) error {
	if isMetadataName(plainHost(u.Hostname())) {
		return fmt.Errorf("%w: %s is a link-local or metadata address", ErrHostRefused, u.Host)
	}
	return nil
}

func plainHost(host string) string {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

func isMetadataName(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return !addressAllowed(addr)
	}
	return host == "metadata" || host == "metadata.google.internal"
}

// guardedDialer is how every client of this package dials. It judges the address that is dialled and not the name, each time: a name that is
// looked up again may lead elsewhere. Addresses of private networks and of this machine are allowed: services, databases and stand-ins live
// there, and no name or address that is dialled comes from an alert.
func guardedDialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: min(connectTimeout, timeout), Control: refuseAddress}
}

// refuseAddress is a net.Dialer's Control: it sees the address after resolution, so that no name leads to a metadata server.
func refuseAddress(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s is no address", ErrHostRefused, address)
	}
	if !addressAllowed(ap.Addr()) {
		return fmt.Errorf("%w: %s is a link-local or metadata address", ErrHostRefused, address)
	}
	return nil
}

// addressAllowed refuses what no system we call lives at: link-local (169.254.169.254 among them), multicast, unspecified, and the
// unique-local addresses of the metadata servers of Google (fd20:ce::254) and AWS (fd00:ec2::254), as their documentation gives them.
func addressAllowed(addr netip.Addr) bool {
	addr = embeddedIPv4(addr.Unmap().WithZone(""))
	switch addr {
	case netip.MustParseAddr("fd20:ce::254"), netip.MustParseAddr("fd00:ec2::254"):
		return false
	}
	return addr.IsGlobalUnicast() || addr.IsLoopback()
}

// embeddedIPv4 gives the IPv4 address inside a NAT64 one (64:ff9b::/96, RFC 6052), and others as they are.
func embeddedIPv4(addr netip.Addr) netip.Addr {
	if !netip.MustParsePrefix("64:ff9b::/96").Contains(addr) {
		return addr
	}
	b := addr.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}
