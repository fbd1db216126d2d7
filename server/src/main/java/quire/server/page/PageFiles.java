package quire.server.page;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Collectors;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;

/**
 * The files of the web page: HTML, CSS and JavaScript modules as the browser runs them, without a build step. The page uses the
 * public API alone, so it needs the API key as every client does; its files are open, since a browser must load them before it
 * can ask for the key.
 */
public final class PageFiles {
    /**
     * The page runs nothing and loads nothing from elsewhere, so a text of a model cannot make it do so. No other page may show
     * it in a frame.
     */
    private static final String POLICY =
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
                    + " base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    private static final Map<String, String> HEADERS = Map.of(
            "Content-Security-Policy",
            POLICY,
            "Referrer-Policy",
            "no-referrer",
            "Cache-Control",
            "no-cache"); // another version of the server has another page

    private static final String INDEX = "index.html";

    private static final List<String> NAMES = List.of(
            INDEX, "style.css", "icon.svg", "main.js", "api.js", "chat.js", "engine.js", "markdown.js", "dom.js");

    private final Map<String, Response> nameToFile =
            NAMES.stream().collect(Collectors.toMap(Function.identity(), PageFiles::read));

    /** Reads the files. */
    public PageFiles() {}

    private static Response read(String name) {
        try (InputStream in = PageFiles.class.getResourceAsStream(name)) {
            if (in == null) {
                throw new IllegalStateException("the web page has no file " + name + " in this build");
            }
            return Response.of(200, contentType(name), in.readAllBytes()).withHeaders(HEADERS);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String contentType(String name) {
        String ending = name.substring(name.lastIndexOf('.') + 1);
        return switch (ending) {
            case "html" -> "text/html; charset=utf-8";
            case "css" -> "text/css; charset=utf-8";
            case "js" -> "text/javascript; charset=utf-8";
            case "svg" -> "image/svg+xml";
            default -> throw new IllegalArgumentException("a file of the page ends with ." + ending);
        };
    }

    /** {@code GET /}. */
    public Response index(Exchange exchange) {
        return file(INDEX);
    }

    /**
     * {@code GET /page/NAME}.
     *
     * @throws HttpException 404 if there is no such file
     */
    public Response file(Exchange exchange) {
        return file(exchange.pathRest());
    }

    private Response file(String name) {
        Response file = nameToFile.get(name);
        if (file == null) {
            throw HttpException.notFound(null, "not_found", "The web page has no such file.");
        }
        return file;
    }
}
