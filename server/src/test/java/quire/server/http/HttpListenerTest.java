package quire.server.http;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.BindException;
import java.net.UnknownHostException;
import org.junit.jupiter.api.Test;

class HttpListenerTest {
    @Test
    void reason_nameWithoutAddress_isSaidInPlainWords() {
        assertThat(HttpListener.reason(new UnknownHostException("Failed to resolve 'nowhere' [A(1)] after 2 queries")))
                .isEqualTo("no address has this name");
        assertThat(HttpListener.reason(new BindException("Address already in use")))
                .isEqualTo("Address already in use");
    }
}
