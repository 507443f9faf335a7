// go-smtp 0.12, as Debian packages it, with a session that reads every message to its end.
package main

import (
	"bytes"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/emersion/go-smtp"
)

var messages, octets int64

type backend struct{}

func (backend) Login(*smtp.ConnectionState, string, string) (smtp.Session, error) {
	return nil, smtp.ErrAuthUnsupported
}

func (backend) AnonymousLogin(*smtp.ConnectionState) (smtp.Session, error) {
	return session{}, nil
}

type session struct{}

func (session) Reset()                              {}
func (session) Logout() error                       { return nil }
func (session) Mail(string, smtp.MailOptions) error { return nil }
func (session) Rcpt(string) error                   { return nil }
func (session) Data(r io.Reader) error {
	count := &counter{}
	_, err := io.Copy(count, r)
	if err == nil {
		atomic.AddInt64(&messages, 1)
		atomic.AddInt64(&octets, count.octets)
	}
	return err
}

// It hands out LF for CRLF.
type counter struct{ octets int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.octets += int64(len(p) + bytes.Count(p, []byte{'\n'}))
	return len(p), nil
}

func main() {
	certificate := flag.String("certificate", "", "")
	key := flag.String("key", "", "")
	flag.Parse()
	server := smtp.NewServer(backend{})
	server.Domain = "localhost"
	server.AuthDisabled = true
	if *certificate != "" {
		pair, err := tls.LoadX509KeyPair(*certificate, *key)
		if err != nil {
			panic(err)
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM)
	go server.Serve(listener)
	port := listener.Addr().(*net.TCPAddr).Port
	fmt.Printf("{\"port\": %d, \"version\": \"go-smtp 0.12\"}\n", port)
	<-stopped
	fmt.Printf("{\"messages\": %d, \"octets\": %d}\n", messages, octets)
}
