package quire.server.http;

import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.net.PemKeyCertOptions;
import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.cert.X509Certificate;
import java.time.Instant;
import javax.net.ssl.KeyManager;
import javax.net.ssl.X509KeyManager;

/**
 * The certificate and the private key of a server that speaks TLS, from two PEM files.
 *
 * <p>The two must belong together. Java would find that out at the first handshake only. It also happens while somebody
 * replaces them one after the other, so the pair is checked whenever it is read.
 */
final class Certificates {
    private static final Logger LOG = System.getLogger(Certificates.class.getName());

    private Certificates() {}

    /**
     * Reads the files.
     *
     * @param certificate the server's certificate, followed by those that vouch for it
     * @param key its private key, RSA or EC, without a password
     * @throws IOException if a file cannot be read
     * @throws IllegalArgumentException saying which file is wrong and why
     */
    static PemKeyCertOptions read(Vertx vertx, Path certificate, Path key) throws IOException {
        PemKeyCertOptions pem =
                new PemKeyCertOptions().addCertValue(bytes(certificate)).addKeyValue(bytes(key));
        X509KeyManager manager = manager(vertx, pem, certificate, key);
        String alias = alias(manager);
        X509Certificate[] chain = manager.getCertificateChain(alias);
        PrivateKey secret = manager.getPrivateKey(alias);
        if (!belongTogether(chain[0], secret)) {
            throw new IllegalArgumentException(
                    "the private key in " + key + " does not belong to the certificate in " + certificate);
        }
        Instant begin = chain[0].getNotBefore().toInstant();
        Instant end = chain[0].getNotAfter().toInstant();
        Instant now = Instant.now();
        if (now.isBefore(begin) || now.isAfter(end)) {
            LOG.log(
                    Level.WARNING,
                    "the certificate in " + certificate + " is valid from " + begin + " to " + end
                            + ": clients will refuse it now");
        }
        return pem;
    }

    private static Buffer bytes(Path file) throws IOException {
        try {
            return Buffer.buffer(Files.readAllBytes(file));
        } catch (NoSuchFileException e) {
            throw new IOException("there is no file " + file, e);
        } catch (AccessDeniedException e) {
            throw new IOException(file + " may not be read by this user", e);
        }
    }

    private static X509KeyManager manager(Vertx vertx, PemKeyCertOptions pem, Path certificate, Path key) {
        try {
            for (KeyManager manager : pem.getKeyManagerFactory(vertx).getKeyManagers()) {
                if (manager instanceof X509KeyManager x509) {
                    return x509;
                }
            }
            throw new IllegalStateException("Java has no keys of X.509");
        } catch (Exception e) { // Vert.x declares it
            throw new IllegalArgumentException(
                    "the certificate in " + certificate + " or the private key in " + key + " cannot be read: "
                            + e.getMessage()
                            + "; both must be in PEM form, and the key must have no password",
                    e);
        }
    }

    /** The name that Java gave to the pair. */
    private static String alias(X509KeyManager manager) {
        for (String type : new String[] {"RSA", "EC", "RSASSA-PSS", "EdDSA"}) {
            String[] aliases = manager.getServerAliases(type, null);
            if (aliases != null && aliases.length > 0) {
                return aliases[0];
            }
        }
        throw new IllegalArgumentException("the private key must be of the kind RSA or EC");
    }

    /** Whether the certificate's public key verifies what the private key signs. */
    private static boolean belongTogether(X509Certificate certificate, PrivateKey key) {
        String algorithm =
                switch (key.getAlgorithm()) {
                    case "EC" -> "SHA256withECDSA";
                    case "EdDSA", "Ed25519", "Ed448" -> "EdDSA";
                    default -> "SHA256withRSA";
                };
        byte[] text = {1, 2, 3};
        try {
            Signature signature = Signature.getInstance(algorithm);
            signature.initSign(key);
            signature.update(text);
            byte[] signed = signature.sign();
            signature.initVerify(certificate.getPublicKey());
            signature.update(text);
            return signature.verify(signed);
        } catch (GeneralSecurityException e) {
            return false; // keys of two kinds
        }
    }
}
